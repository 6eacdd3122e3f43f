"""What the search page shows of hits, and what can be done with them."""

from __future__ import annotations

import threading

import pytest

from tests.app.webpage.api import BUSY, COLLECTION, SHOWN, explaining, failing, found, usual
from tests.app.webpage.browser import CHROMIUM, Answer, Page, Request, Site

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def test_the_latest_question_is_the_one_that_is_answered(searched: Page, site: Site) -> None:
    go_on = threading.Event()

    def answer(request: Request) -> Answer:
        if request.path.endswith("/explain") and request.body.get("advise"):
            go_on.wait(10)
        return explaining(request)

    site.answer = answer
    searched.click("Why")
    searched.click("What would raise it?")
    searched.click("Why is it above the next one?")
    searched.until("$t('.answer').includes('less that of')")
    go_on.set()
    searched.eval("new Promise((done) => setTimeout(done, 300))")
    said = searched.eval("$t('.answer')")
    assert searched.eval("$t('.answer h3')") == "Why is it above the next one?"
    assert "hit 1 (Title l1)" in said
    assert "hit 2 (Title l2)" in said
    assert "1001" not in said


def test_more_hits_leave_those_that_are_there_alone(searched: Page, site: Site) -> None:
    site.answer = explaining
    searched.click("whole passage")
    assert searched.eval("document.activeElement.matches('.passage p')")
    searched.click("Why")
    searched.click("What would raise it?")
    searched.until("$t('.answer').includes('No change')")
    searched.eval("globalThis.first = $('#hits > li')")
    searched.click("More hits")
    searched.until(f"{SHOWN} === 20")
    assert searched.eval("first === $('#hits > li')")
    assert "No change" in searched.eval("$t('.answer')")
    assert searched.eval("$('#hits .passage button')?.closest('li').dataset.id") == "l2"
    assert searched.eval("document.activeElement.dataset.id") == "l11"


def test_the_last_hit_can_be_compared_once_there_is_a_next_one(searched: Page) -> None:
    asked = "$$('#why-10 .questions .buttons button').filter((one) => one.offsetParent).map((one) => one.textContent)"
    searched.eval("$('[aria-controls=why-10]').click()")
    assert searched.eval(asked) == ["What would raise it?"]
    searched.click("More hits")
    searched.until(f"{SHOWN} === 20")
    assert searched.eval(asked) == ["What would raise it?", "Why is it above the next one?"]


def test_a_button_that_goes_hands_the_keyboard_on(searched: Page, site: Site) -> None:
    searched.click("whole value, 400 characters")
    assert searched.eval("document.activeElement.tagName") == "DD"
    searched.search("monitor^4")
    searched.until("Boolean($('.word .factor:enabled'))")
    searched.eval("($('.word .factor').focus(), $('.word .factor').click())")
    assert searched.eval("document.activeElement.type") == "range"
    suggested = {"suggestions": {"query": "laptops", "words": []}}
    site.answer = lambda request: Answer(found(request.body, **suggested)) if request.body else usual(request)
    searched.search("laptpo")
    searched.click("laptops")
    searched.until("location.search.includes('laptops') && $('#hits [data-id]') === document.activeElement")


def test_a_value_is_chosen_once_and_can_be_let_go(page: Page, site: Site) -> None:
    values = [{"value": "Acme", "documents": 3}, {"value": 7, "documents": 1}]
    facets = {"facets": {"fields": {"brand": {"values": values, "distinct": 2, "without": 0}}}}
    site.answer = lambda request: Answer(found(request.body, **facets)) if request.body else usual(request)
    page.go(site.url + "?c=goods&q=laptop&facets=brand&filter=price+%3C+5+or+b+%3D+1")
    page.click("Acme")
    page.until("$('.counted button').ariaPressed === 'true'")
    assert site.requests[-1].body["filter"] == '(price < 5 or b = 1) and brand = "Acme"'
    assert page.eval("document.activeElement.parentNode.parentNode.id") == "chosen"
    page.click("7")
    page.until("$$('.counted button')[1].ariaPressed === 'true'")
    assert site.requests[-1].body["filter"] == '((price < 5 or b = 1) and brand = "Acme") and brand = 7'
    page.reload()
    page.until("$$('#chosen button').length === 2 && !('busy' in document.body.dataset)")
    page.click("Acme")
    page.until("$$('#chosen button').length === 1 && $('.counted button').ariaPressed === 'false'")
    assert site.requests[-1].body["filter"] == "(price < 5 or b = 1) and brand = 7"
    assert page.eval("$('#filter').value") == "price < 5 or b = 1"


def test_an_alias_is_offered_and_a_leg_that_a_collection_lacks_is_not(page: Page, site: Site) -> None:
    site.answer = lambda request: Answer(COLLECTION) if request.path == "/v1/collections/now" else usual(request)
    page.go(site.url + "?c=now&q=laptop&legs=learned")
    page.until(f"{SHOWN} === 10")
    assert page.eval("$('#collection').selectedOptions[0].textContent") == "now: goods (40)"
    assert site.requests[-1].path == "/v1/collections/now/search"
    assert "legs" not in site.requests[-1].body


def test_a_collection_that_was_deleted_is_said_to_be(searched: Page, site: Site) -> None:
    site.answer = failing(404, {"error": {"code": "not_found", "message": "there is no collection", "param": None}})
    searched.search("monitor")
    searched.until("!$('#error').hidden")
    assert searched.eval("$('#collection').selectedOptions[0].textContent") == "goods (not here)"


def test_hits_behind_a_change_are_said_to_be(searched: Page, site: Site) -> None:
    site.answer = lambda request: Answer(found(request.body, changed=True))
    searched.click("More hits")
    searched.until("$t('#hits .notice').includes('changed')")
    assert searched.eval("$('#hits li:has(.notice)').nextSibling.dataset.id") == "l11"
    searched.click("Search again")
    searched.until(f"{SHOWN} === 10 && !$('#hits .notice')")


def test_a_slider_is_one_step_to_go_back_from(searched: Page) -> None:
    before = searched.eval("history.length")
    for value in (5, 6, 7):
        searched.eval(f"($('.word input').value = {value}, $('.word input').dispatchEvent(new Event('input')))")
        factor = {5: 2, 6: 4, 7: 7}[value]
        searched.until(f"location.search.includes('%5E{factor}') && !('busy' in document.body.dataset)")
    assert searched.eval("history.length") == before + 1
    searched.eval("history.back()")
    searched.until("$('#query').value === 'laptop' && document.title === 'laptop \\u2013 Salience'")


def test_a_slider_that_is_moved_after_going_back_is_a_step_of_its_own(searched: Page) -> None:
    move = "($('.word input').value = {0}, $('.word input').dispatchEvent(new Event('input')))"
    searched.eval(move.format(5))
    searched.until("location.search.includes('%5E2') && !('busy' in document.body.dataset)")
    searched.eval("history.back()")
    searched.until("$('#query').value === 'laptop' && !('busy' in document.body.dataset)")
    searched.eval(move.format(6))
    searched.until("location.search.includes('%5E4') && !('busy' in document.body.dataset)")
    searched.eval("history.back()")
    searched.until("$('#query').value === 'laptop' && !('busy' in document.body.dataset)")


def test_a_query_that_is_too_long_for_the_url_outlives_a_reload(searched: Page) -> None:
    query = "laptop " * 600
    searched.search(query)
    searched.until("history.state?.query.length === 4200")
    assert len(searched.eval("location.href")) < 200
    searched.reload()
    searched.until(f"$('#query').value.length === 4200 && {SHOWN} === 10")


def test_another_key_is_asked_for_the_same_search(page: Page, site: Site) -> None:
    refused = Answer({"error": {"code": "unauthorized", "message": "no", "param": None}}, 401)
    site.answer = lambda request: usual(request) if request.key else refused
    page.go(site.url + "?c=goods&q=laptop")
    for way in ("Another key", None):
        page.until("Boolean($('dialog input'))")
        page.eval("$('dialog input').value = 'a-key'")
        page.click("Use it")
        page.until(f"!$('dialog') && {SHOWN} === 10")
        if way:
            page.click(way)
    assert page.eval("$('#query').value") == "laptop"


def test_how_far_a_hit_moved_is_marked_as_far_as_it_is_known(searched: Page, site: Site) -> None:
    """Of the search without factors the first hits are looked at: here 10, as the server allows no more."""

    def answer(request: Request) -> Answer:
        if request.body.get("boosts") is not False:
            return Answer(found(request.body))
        if request.body["k"] > 10:
            return Answer({"error": {"code": "invalid_query", "message": "k", "param": "k"}}, 400)
        return Answer(found({**request.body, "query": "other"}))

    site.answer = answer
    searched.search("monitor^4")
    searched.until("$$('#hits .moved').length === 10")
    assert searched.eval("$$('#hits .moved').map((mark) => mark.textContent)") == ["new"] * 10
    searched.click("More hits")
    searched.until(f"{SHOWN} === 20")
    assert searched.eval("$$('#hits .moved').length") == 10


def test_hits_without_a_word_of_the_query_are_said_to_be(searched: Page, site: Site) -> None:
    def answer(request: Request) -> Answer:
        body = found(request.body)
        for one in body["hits"]:
            raw = 2.5 if request.body["query"] == "found" and one is body["hits"][3] else 0.0
            one["scores"]["sparse"] = {"raw": raw, "rank": 1 if raw else None, "norm": 0.0, "weight": 0.5}
        return Answer(body)

    site.answer = answer
    for query, said in (("poetry", True), ("found", False)):
        searched.search(query)
        searched.until(f"$t('#hits h2') === 'Title {query[0]}1'")
        assert searched.eval("$t('#notices').includes('None of these hits has a word of the query')") is said


def test_everything_that_is_pressed_is_large_enough(searched: Page, site: Site) -> None:
    """24 by 24 pixels, as the guidelines for accessibility ask."""
    facets = {"fields": {"brand": {"values": [{"value": "i", "documents": 3}], "distinct": 1, "without": 0}}}
    site.answer = lambda request: Answer(found(request.body, facets=facets))
    searched.search("monitor")
    searched.until("Boolean($('.counted button'))")
    searched.click("Why")
    size = "[node.getBoundingClientRect().width, node.getBoundingClientRect().height, node.outerHTML]"
    for width, height, element in searched.eval(
        f"$$('main button, main input, main select, main summary').map((node) => {size})"
    ):
        assert (width, height) == (0, 0) or min(width, height) >= 23.9, element


def test_settings_open_by_themselves_only_where_there_is_room(page: Page, site: Site) -> None:
    for width, is_open in ((320, False), (1280, True)):
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        page.go(f"{site.url}?c=goods&q=laptop&k=5&diversity=0.3&{width}")
        page.until(f"{SHOWN} === 10")
        assert page.eval("[$('#advanced').open, $t('#settings-set')]") == [is_open, "(2 set)"]


def test_the_document_of_a_hit_can_be_read(searched: Page, site: Site) -> None:
    whole = {"id": "l1", "text": "word " * 240 + "and what follows"}
    tries = iter([Answer(BUSY, 503), Answer(whole)])
    site.answer = lambda request: (
        next(tries) if request.path == "/v1/collections/goods/documents/l1" else usual(request)
    )
    searched.click("Document")
    searched.click("Try again")
    searched.until("$t('dialog .content').endsWith('and what follows')")
    assert searched.eval("$t('dialog mark')") == "word " * 240
    searched.click("Close")
    assert searched.eval("[$('dialog'), document.activeElement.textContent]") == [None, "Document"]
