"""The web pages: what they are made of is served, comes from nowhere else, and cannot run what a document says."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag
from starlette.testclient import TestClient

from core.access import new_secret
from retriever.legs import Leg

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / "app" / "web"
SOURCES = {path.name: path.read_text() for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js", ".svg")}
PAGES = {"/": "index.html", "/docs": "docs.html"}
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
TOKEN = "correct-horse-battery"
# What setuptools puts into the wheel beside the modules of a package.
DATA_FILES = """
import json, setuptools
found = setuptools.Distribution()
found.parse_config_files()
found.include_package_data = False
command = found.get_command_obj("build_py")
command.ensure_finalized()
print(json.dumps({package: names for package, _, _, names in command.data_files}))
"""


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_served_under_a_strict_policy(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.text == SOURCES[PAGES[path]]
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(response.content))


def test_every_file_is_named_by_a_page_and_served(client: TestClient) -> None:
    waiting = list(PAGES.values())
    found = set(waiting)
    while waiting:
        for name in _named(waiting.pop()) - found:
            found.add(name)
            waiting.append(name)
            response = client.get(f"/web/{name}")
            assert response.status_code == 200, name
            assert response.text == SOURCES[name]
            assert response.headers["content-type"].split(";")[0] == TYPES[name.rpartition(".")[2]]
            assert response.headers["x-content-type-options"] == "nosniff"
    assert found == set(SOURCES), "a file that no page names"


@pytest.mark.parametrize("page", PAGES.values())
def test_every_page_has_what_the_requests_speak_to(page: str) -> None:
    wanted = set(re.findall(r'byId\("([\w-]+)"\)', SOURCES["api.js"]))
    assert "forget-key" in wanted
    assert wanted <= set(re.findall(r'id="([\w-]+)"', SOURCES[page]))


def test_a_file_that_the_browser_has_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/web/main.js")
    etag = first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache"
    for known in (etag, f'"other", W/{etag}', "*"):
        again = client.get("/web/main.js", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get("/web/main.js", headers={"If-None-Match": '"other"'}).content == first.content
    assert client.get("/web/style.css").headers["etag"] != etag


@pytest.mark.parametrize("name", ["nosuch.js", "__init__.py", "..%2Fmain.py", "%2e%2e/settings.py", "index.html/"])
def test_nothing_else_is_served(client: TestClient, name: str) -> None:
    response = client.get(f"/web/{name}", follow_redirects=False)
    assert response.status_code == 404 or "location" in response.headers
    assert "from __future__" not in response.text
    if response.status_code == 404:
        assert response.json()["error"]["code"] == "not_found"


def test_the_pages_are_public_and_what_they_show_is_not(make_client: Callable[..., TestClient]) -> None:
    client = make_client(auth={"tokens": TOKEN})
    for path in ("/", "/docs", "/openapi.json", *(f"/web/{name}" for name in SOURCES)):
        assert client.get(path).status_code == 200, path
    assert client.get("/v1/collections").status_code == 401
    assert client.get("/v1/collections", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_no_page_of_the_framework_is_left(client: TestClient) -> None:
    assert client.get("/redoc").status_code == 404
    assert not set(client.get("/openapi.json").json()["paths"]) & {"/", "/docs", "/web/{name}", "/openapi.json"}


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_comes_from_elsewhere(name: str) -> None:
    source = SOURCES[name].replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"""\w+://|["'(=]\s*//|\bdata:\S|@import|\burl\(""", source)


@pytest.mark.parametrize("name", [name for name in SOURCES if name.endswith(".js")])
def test_no_text_becomes_markup_or_code(name: str) -> None:
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|srcdoc|DOMParser|createContextualFragment|document\.write"
    )
    forbidden += r"|\beval\b|\bFunction\(|javascript:|set(Timeout|Interval)\(\s*[\"'`]|localStorage|document\.cookie"
    assert not re.search(forbidden, SOURCES[name])


@pytest.mark.parametrize("name", PAGES.values())
def test_a_page_has_no_inline_code_and_labels_what_it_asks(name: str) -> None:
    page = BeautifulSoup(SOURCES[name], "html.parser")
    for tag in page.find_all(True):
        assert "style" not in tag.attrs
        assert not [attribute for attribute in tag.attrs if attribute.startswith("on")]
        assert not [part for part in ("href", "src") if str(tag.get(part, "/"))[0] != "/"]
    assert not page.find_all("style")
    assert all(tag.get("src") and not tag.text for tag in page.find_all("script"))
    assert all(tag.find_parent("label") for tag in page.find_all(["input", "select", "textarea"]))
    assert page.html is not None
    assert page.html["lang"] == "en"


@pytest.mark.parametrize("name", PAGES.values())
def test_a_label_is_of_its_field_and_not_of_what_stands_before_it(name: str) -> None:
    """An <output> can have a label, too: the first one inside gets it, unless `for` says otherwise."""
    labelable = ["button", "input", "meter", "output", "progress", "select", "textarea"]
    for label in BeautifulSoup(SOURCES[name], "html.parser").find_all("label"):
        inside = label.find_all(labelable)
        named = [tag for tag in inside if tag.get("id") == label.get("for", inside[0].get("id"))]
        assert [tag.name for tag in named] in (["input"], ["select"], ["textarea"]), label


def test_what_others_wrote_goes_in_its_own_direction() -> None:
    rule = re.search(r"([^{}]*)\{ unicode-bidi: plaintext; \}", SOURCES["style.css"])
    assert rule is not None
    texts = {part.strip() for part in rule[1].split(",")}
    assert texts >= {"#hits h2", ".passage p", ".metadata dd", ".sentences span", ".counted button", ".word .text"}
    query = BeautifulSoup(SOURCES["index.html"], "html.parser").find(id="query")
    assert isinstance(query, Tag)
    assert query["dir"] == "auto"


def test_the_borders_of_fields_stand_out_in_both_themes() -> None:
    """3:1, as the guidelines for accessibility ask."""
    for theme in re.findall(r":root \{(.*?)\}", SOURCES["style.css"], re.DOTALL):
        colours = dict(re.findall(r"--(edge|card|paper): (#\w+)", theme))
        for ground in ("card", "paper"):
            lighter, darker = sorted((_luminance(colours[ground]), _luminance(colours["edge"])), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 3


def test_only_a_key_that_a_header_can_carry_is_taken() -> None:
    """With any other one fetch() throws, and the page would say that no server answers, until the tab is closed."""
    found = re.search(r'KEY_PATTERN = (".*?");', SOURCES["api.js"])
    assert found is not None
    assert "pattern: KEY_PATTERN" in SOURCES["api.js"]
    pattern = re.compile(json.loads(found[1]))
    for right in (new_secret().token, f" {TOKEN} ", "".join(map(chr, range(32, 127)))):
        assert pattern.fullmatch(right)
    for wrong in ("sal_4ea2\u2026", "\u043a\u043b\u044e\u0447", "a\nb", ""):
        assert not pattern.fullmatch(wrong)


@pytest.mark.parametrize("name", [name for name in SOURCES if name.endswith(".js")])
def test_what_a_module_imports_is_exported(name: str) -> None:
    for names, module in re.findall(r'import \{([^}]*)\} from "\./([\w.]+)"', SOURCES[name]):
        exported = set(re.findall(r"^export (?:async )?(?:function|class|const) (\w+)", SOURCES[module], re.MULTILINE))
        assert {found.strip() for found in names.split(",")} <= exported


@pytest.mark.parametrize(("script", "page"), [("main.js", "index.html"), ("reference.js", "docs.html")])
def test_what_a_script_looks_for_is_in_its_page(script: str, page: str) -> None:
    parsed = BeautifulSoup(SOURCES[page], "html.parser", multi_valued_attributes=None)
    ids = [str(tag["id"]) for tag in parsed.find_all(id=True)]
    assert len(ids) == len(set(ids))
    sought = set(re.findall(r'byId\("([\w-]+)"\)', SOURCES[script]))
    assert sought
    assert sought <= set(ids)
    for tag in parsed.find_all(True):
        for attribute in ("aria-labelledby", "aria-describedby", "data-copies", "for"):
            assert set(str(tag.get(attribute, "")).split()) <= set(ids)


def test_every_choice_of_the_form_is_one_of_the_api(client: TestClient) -> None:
    """The body is put together as settings() in main.js does it."""
    page = BeautifulSoup(SOURCES["index.html"], "html.parser")

    def choices(name: str) -> list[str]:
        menu = page.find("select", id=name)
        assert isinstance(menu, Tag)
        return [value for option in menu.find_all("option") if (value := str(option.get("value", option.text)))]

    assert set(choices("legs")) == {leg.value for leg in Leg}
    searched = [leg for leg in choices("legs") if leg != Leg.LEARNED]  # it is offered where a collection has it
    bodies: list[dict[str, object]] = [{"legs": [leg]} for leg in searched]
    bodies += [{"fusion": {"method": method}} for method in choices("fusion")]
    bodies += [{"fusion": {"alpha": alpha}} for alpha in (0, 0.35, 1)]
    bodies += [{"steering": {"target": target}} for target in choices("target")]
    bodies += [{"k": int(k)} for k in choices("k")]
    bodies += [{"diversity": float(share)} for share in choices("diversity")]
    bodies += [{"boosts": False, "k": 100}, {"group_by": "price", "facets": ["price"]}]
    assert len(bodies) >= 16
    for body in bodies:
        sent = {"query": "a TV for films", "explain": "words", **body}
        response = client.post("/v1/collections/goods/search", json=sent)
        assert response.status_code == 200, (body, response.text)
        assert response.json()["hits"]


def test_the_documentation_shows_every_operation_and_sends_every_parameter(client: TestClient) -> None:
    """As reference.js puts them together."""
    found = re.search(r"METHODS = (\[.*?\])", SOURCES["reference.js"])
    assert found is not None
    shown = json.loads(found[1])
    sent = set(re.findall(r'values\("(\w+)"\)', SOURCES["reference.js"]))
    for path, item in client.get("/openapi.json").json()["paths"].items():
        for method, operation in item.items():
            assert method in shown, (path, method)
            assert {parameter["in"] for parameter in operation.get("parameters", [])} <= sent, (path, method)


def test_every_factor_of_a_slider_can_be_written_as_a_boost(client: TestClient) -> None:
    listed = re.search(r"FACTORS = (\[.*?\])", SOURCES["query.js"])
    assert listed is not None
    for factor in json.loads(listed[1]):
        found = client.post("/v1/collections/goods/search", json={"query": f'a TV "for films"^{factor}'}).json()
        assert [(control["start"], control["length"], control["factor"]) for control in found["controls"]] == [
            (5, 9, factor)
        ]


def test_the_wheel_has_every_file() -> None:
    done = subprocess.run([sys.executable, "-c", DATA_FILES], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    shipped = {Path(path).name for path in json.loads(done.stdout)["app.web"]}
    assert shipped == set(SOURCES)


def _named(name: str) -> set[str]:
    """The files of /web that a file names."""
    text = SOURCES[name]
    return set(re.findall(r'(?:href|src)="/web/([^"]+)"', text)) | set(re.findall(r'from "\./([^"]+)"', text))


def test_the_description_is_made_outside_of_the_event_loop(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    app: Any = client.app
    loops: list[object] = []
    make = app.openapi

    def watched() -> dict[str, Any]:
        loops.append(asyncio._get_running_loop())
        described: dict[str, Any] = make()
        return described

    monkeypatch.setattr(app, "openapi", watched)
    assert client.get("/openapi.json").json()["info"]["title"] == "Salience"
    assert client.head("/openapi.json").status_code == 200
    assert loops == [None, None]


def _luminance(colour: str) -> float:
    """The relative luminance of an sRGB colour, as WCAG defines it; `colour`: #rgb or #rrggbb."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
