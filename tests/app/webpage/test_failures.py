"""What the search page shows of requests that fail, and how one goes on."""

from __future__ import annotations

import threading

import pytest

from tests.app.webpage.api import BUSY, SHOWN, failing, found, usual
from tests.app.webpage.browser import CHROMIUM, Answer, Page, Request, Site

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def test_a_search_that_fails_keeps_the_hits_before_and_is_tried_again(searched: Page, site: Site) -> None:
    site.answer = failing(503, Retry_After="2")
    searched.search("monitor")
    searched.until("$t('#error').includes('the server is busy')")
    assert searched.eval(SHOWN) == 10
    assert "laptop" in searched.eval("$t('#status')")
    assert searched.eval("'stale' in $('#hits').dataset")
    again = "$('#error button')"
    assert searched.eval(f"{again}.disabled"), "before Retry-After is over"
    site.answer = usual
    searched.until(f"!{again}.disabled")
    searched.eval(f"{again}.click()")
    searched.until("$t('#hits h2') === 'Title m1'")
    assert searched.eval("$('#error').hidden && !('stale' in $('#hits').dataset)")


def test_more_hits_that_fail_keep_those_that_are_there(searched: Page, site: Site) -> None:
    site.answer = failing(429)
    searched.click("More hits")
    searched.until("$t('#more-error').includes('the server is busy')")
    assert searched.eval(SHOWN) == 10
    assert searched.eval("$t('#status')").startswith("10 hits")
    assert searched.eval("$('#more').hidden") is False
    site.answer = usual
    searched.eval("$('#more-error button').click()")
    searched.until(f"{SHOWN} === 20")
    assert searched.eval("$t('#more-error')") == ""


def test_more_of_the_hits_of_the_search_before_are_said_to_be_of_that(searched: Page, site: Site) -> None:
    site.answer = failing(400)
    searched.search("monitor")
    searched.until("!$('#error').hidden")
    said = searched.eval("$t('#status')")
    assert "search before" in said
    site.answer = usual
    searched.click("More hits")
    searched.until(f"{SHOWN} === 20")
    assert searched.eval("$t('#status')") == said


def test_without_the_comparison_the_hits_only_have_no_marks(searched: Page, site: Site) -> None:
    def answer(request: Request) -> Answer:
        compared = request.body is not None and request.body.get("boosts") is False
        return Answer(BUSY, 503) if compared else usual(request)

    site.answer = answer
    searched.search("monitor^4")
    searched.until("$t('#notices').includes('the server is busy')")
    assert searched.eval("$t('#hits h2')") == "Title m1"
    assert searched.eval("[$('#error').hidden, $$('#hits .moved').length]") == [True, 0]


def test_the_hits_do_not_wait_for_the_comparison(searched: Page, site: Site) -> None:
    go_on = threading.Event()

    def answer(request: Request) -> Answer:
        if request.body is not None and request.body.get("boosts") is False:
            go_on.wait(10)
        return usual(request)

    site.answer = answer
    searched.search("monitor^4")
    searched.until("$t('#hits h2') === 'Title m1'")
    assert searched.eval("$$('#hits .moved').length") == 0
    go_on.set()
    searched.until("$$('#hits .moved').length === 10")


def test_an_answer_that_breaks_off_is_said_in_words(searched: Page, site: Site) -> None:
    site.answer = lambda request: Answer(found(request.body), cut=True)
    searched.search("monitor")
    searched.until("!$('#error').hidden")
    assert "broke off" in searched.eval("$t('#error')")
    assert searched.eval(SHOWN) == 10


def test_a_wrong_filter_is_said_to_be_wrong_and_keeps_the_hits(searched: Page, site: Site) -> None:
    wrong = {"error": {"code": "invalid_filter", "message": "a value is missing", "param": "filter"}}
    site.answer = failing(400, wrong)
    searched.eval("($('#filter').value = 'price <', $('#filter').dispatchEvent(new Event('change')))")
    searched.until("$t('#filter-error') === 'a value is missing'")
    assert searched.eval("$('#filter').getAttribute('aria-invalid')") == "true"
    assert searched.eval(SHOWN) == 10
    site.answer = usual
    searched.search("monitor")
    searched.until("$t('#hits h2') === 'Title m1'")
    assert searched.eval("$('#filter').getAttribute('aria-invalid')") is None


def test_a_start_that_fails_or_takes_long_is_said_and_tried_again(page: Page, site: Site) -> None:
    go_on = threading.Event()

    def slow(_: Request) -> Answer:
        go_on.wait(10)
        return Answer({"error": {"code": "starting", "message": "it is starting", "param": None}}, 503)

    site.answer = slow
    page.go(site.url + "?c=goods&q=laptop")
    page.until("$t('#status').startsWith('Loading')")
    go_on.set()
    page.until("$t('#error').includes('it is starting')")
    site.answer = usual
    page.click("Try again")
    page.until(f"{SHOWN} === 10")


def test_a_key_that_was_not_given_can_still_be_given(page: Page, site: Site) -> None:
    def answer(request: Request) -> Answer:
        if request.key is None:
            said = {"code": "unauthorized", "message": "send a bearer token in the Authorization header", "param": None}
            return Answer({"error": said}, 401)
        return usual(request)

    site.answer = answer
    page.go(site.url + "?c=goods&q=laptop")
    page.click("Cancel")
    page.until("!$('#error').hidden")
    assert "header" not in page.eval("$t('#error')")
    page.click("Enter a key")
    page.until("Boolean($('dialog input'))")
    page.eval("$('dialog input').value = 'a-key'")
    page.click("Use it")
    page.until(f"{SHOWN} === 10")
