"""An administrator, a member and a viewer, each in a browser of their own, in a Runyard where everyone signs in."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from runyard import Runyard, RunyardError
from tests.browser import complaints_of
from tests.people import ADMINISTRATOR, NAMES, PASSWORD
from tests.system.running_yard import RunningYard
from tests.system.test_browser import _launch
from tests.system.test_browser_access import WIDE, faults_of

ADA, GRACE, EDSGER = ADMINISTRATOR, NAMES["member"], NAMES["viewer"]
CHANGES = re.compile("Launch|Stop|Delete|Cancel|Retry|Resume|Pause|Clone|Rename|Tag|Edit|Add|Save")
"""Names of buttons and links that change something."""
READING = ("/", "/runs", "/queue", "/sweeps", "/datasets", "/models", "/architectures", "/compare", "/notifications")
"""Pages that a viewer reads."""


@contextmanager
def someone(browser: Browser, expected: str = r"status of (401|403|409|410|422)") -> Iterator[Page]:
    """A page in a browser of its own; it may only complain of what is expected: answers that refuse something."""
    context = browser.new_context(viewport=WIDE, color_scheme="light", reduced_motion="reduce")
    page = context.new_page()
    heard = complaints_of(page)
    yield page
    context.close()
    assert [each for each in heard if not re.search(expected, each)] == []


def sign_in(page: Page, yard: RunningYard, name: str, path: str = "/") -> None:
    """Ask for a page, sign in, and arrive there."""
    page.goto(yard.address + path)
    expect(page).to_have_url(re.compile("/sign-in"))
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(yard.address + path)
    expect(page.get_by_role("contentinfo").get_by_role("link", name=name)).to_be_visible()


def add(page: Page, name: str, role: str) -> None:
    """Add a person on the page of administrators."""
    form = page.locator("form[action='/admin/people']")
    form.get_by_label("Name").fill(name)
    form.get_by_label("Role").select_option(role)
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button", name="Add person").click()
    expect(page.get_by_label(f"Role of {name}")).to_have_value(role)


def look_at(browser: Browser, page: Page, address: str) -> list[str]:
    """Faults of a page as whoever has signed in on another sees it, which stays where it is."""
    state = page.context.storage_state()
    context = browser.new_context(viewport=WIDE, color_scheme="light", reduced_motion="reduce", storage_state=state)
    looked = context.new_page()
    looked.goto(address, wait_until="load")
    faults = [f"{looked.title()}: {each}" for each in faults_of(looked)]
    context.close()
    return faults


def controls(page: Page) -> list[str]:
    """What a page shows that changes something."""
    page_and_header = page.locator("main, header")
    found = [
        *page_and_header.get_by_role("button", name=CHANGES).all(),
        *page_and_header.get_by_role("link", name=CHANGES).all(),
        *page.locator("#run-control, #views-pop, [data-tag-field]").all(),
    ]
    return [each.inner_text() for each in found if each.is_visible()]


def test_three_people_work_in_one_yard_and_each_may_do_what_their_role_says(
    browser: Browser, own_yard: Callable[..., RunningYard]
) -> None:
    yard = own_yard(RUNYARD_SIGN_IN="always")
    with ExitStack() as stack:
        ada, grace, elsewhere, edsger = (stack.enter_context(someone(browser)) for _ in range(4))

        # Before anyone: the page that was asked for is the sign-in form, and the printed link is the only way in.
        grace.goto(f"{yard.address}/runs")
        expect(grace.get_by_role("heading", name="Sign in")).to_be_visible()
        (link,) = yard.until(lambda: re.findall(r"http://\S+/welcome\?code=\S+", yard.output.read_text()))
        faults = look_at(browser, grace, link) + look_at(browser, grace, yard.address + "/sign-in")
        ada.goto(link)
        ada.get_by_label("Name").fill(ADA)
        for label, typed in (("Password", PASSWORD), ("Repeat password", f"{PASSWORD}.")):
            ada.get_by_label(label, exact=True).fill(typed)
        ada.get_by_role("button", name="Create administrator").click()
        expect(ada.get_by_role("alert")).to_have_text("The passwords differ.")
        for label in ("Password", "Repeat password"):
            ada.get_by_label(label, exact=True).fill(PASSWORD)
        ada.get_by_role("button", name="Create administrator").click()
        expect(ada.get_by_role("link", name=ADA, exact=True)).to_be_visible()
        faults += look_at(browser, grace, link)

        # The administrator adds a member and a viewer; what cannot be is said beside the form.
        ada.get_by_role("link", name="Administration").click()
        add(ada, GRACE, "member")
        add(ada, EDSGER, "viewer")
        form = ada.locator("form[action='/admin/people']")
        form.get_by_label("Name").fill(GRACE)
        form.get_by_role("button", name="Add person").click()
        expect(form.get_by_role("alert")).to_have_text(re.compile("Somebody is already called"))
        expect(form.get_by_label("Name")).to_have_value(GRACE)

        # The member launches a run; the administrator sees it begin without doing anything.
        ada.goto(yard.address)
        expect(ada.locator("#yard")).to_contain_text("1 worker", timeout=180_000)
        sign_in(grace, yard, GRACE)
        run = _launch(grace, yard, "simple_mlp", "base", 50_000, 39)
        live = ada.locator(f"#board [data-run='{run}']")
        expect(live.locator("[data-status=running]")).to_be_visible(timeout=180_000)
        expect(live.get_by_role("button", name="Stop")).to_be_visible()
        ada.goto(f"{yard.address}/runs")
        for query, found in ((f"by:{GRACE}", 1), (f"by:{ADA}", 0), ("by:me", 0)):
            ada.locator("#search").fill(query)
            ada.locator("#search").press("Enter")
            expect(ada).to_have_url(re.compile(rf"q=by(:|%3A){query[3:]}"))
            expect(ada.locator(f"#row-{run}")).to_have_count(found)

        assert controls(grace) != []
        viewer_reads_and_changes_nothing(edsger, yard, run)

        # A token is shown once, and acts for its owner.
        grace.get_by_role("contentinfo").get_by_role("link", name=GRACE).click()
        tokens = grace.locator("form[action='/account/tokens']")
        tokens.get_by_label("Name").fill("laptop")
        tokens.get_by_label("Scope").select_option("read")
        tokens.get_by_role("button", name="Create token").click()
        secret = grace.locator("code.secret").inner_text()
        grace.goto(f"{yard.address}/account")
        expect(grace.get_by_role("button", name="Delete token laptop")).to_be_visible()
        assert secret not in grace.content()
        with Runyard(yard.address, token=secret) as script:
            assert script.ask("GET", "/whoami")["name"] == GRACE
            with pytest.raises(RunyardError, match="the token laptop may not"):
                script.ask("POST", f"/runs/{run}/cancel")
        faults += look_at(browser, grace, yard.address + "/account")
        for path in ("/admin", "/admin/tokens", "/admin/audit", "/admin/system", f"/admin/people/{GRACE}/remove"):
            faults += look_at(browser, ada, yard.address + path)

        # Signing out everywhere ends the other browser too: its live page leaves by itself.
        sign_in(elsewhere, yard, GRACE)
        expect(elsewhere.locator(f"#board [data-run='{run}']")).to_be_visible()
        grace.reload()
        expect(grace.get_by_role("button", name="Sign out session")).to_have_count(1)
        grace.get_by_role("button", name="Sign out everywhere").click()
        expect(grace).to_have_url(f"{yard.address}/sign-in")
        expect(elsewhere).to_have_url(re.compile("/sign-in"))
        for page in (grace, elsewhere):
            page.goto(f"{yard.address}/runs/{run}")
            expect(page).to_have_url(re.compile(rf"/sign-in\?next=.*{run}"))

        # The run trains on until the administrator stops it, and the log names both.
        ada.goto(f"{yard.address}/runs/{run}")
        ada.locator("button[id^=stop-]").click()
        expect(ada.locator(".page-head[data-status=cancelled]")).to_be_visible()
        ada.get_by_role("link", name="Administration").click()
        ada.get_by_role("link", name="Audit log").click()
        log = ada.locator("#audit tbody tr")
        expect(log.filter(has_text="run.launch").filter(has_text=GRACE).filter(has_text=run)).to_have_count(1)
        expect(log.filter(has_text="run.cancel").filter(has_text=ADA).filter(has_text=run)).to_have_count(1)
        expect(log.filter(has_text="person.add").filter(has_text=ADA)).to_have_count(3)
        ada.get_by_label("Action").fill("run.")
        ada.get_by_role("button", name="Filter").click()
        expect(log).to_have_count(2)
        with ada.expect_download() as download:
            ada.get_by_role("link", name="Download CSV").click()
        with open(download.value.path(), newline="") as file:
            written = [(row["who"], row["action"], row["target"]) for row in csv.DictReader(file)]
        assert written == [(ADA, "run.cancel", run), (GRACE, "run.launch", run)]
        assert faults == []


def viewer_reads_and_changes_nothing(page: Page, yard: RunningYard, run: str) -> None:
    """Sign in as the viewer: no page has a control that changes something, and whoever posts anyway is told why not."""
    sign_in(page, yard, EDSGER, f"/runs/{run}")
    for path in (*READING, f"/runs/{run}"):
        page.goto(yard.address + path)
        expect(page.get_by_role("heading", level=1).first).to_be_attached()
        assert (path, controls(page)) == (path, [])
    page.evaluate(f"document.querySelector(\"form[action='/runs/{run}/cancel']\").submit()")
    expect(page.get_by_text("A viewer may not launch or change anything.")).to_be_visible()
    for path in ("/launch", "/admin"):
        page.goto(yard.address + path)
        expect(page.get_by_text(re.compile("^A viewer may not"))).to_be_visible()
    page.goto(f"{yard.address}/runs/{run}")
    expect(page.locator(".page-head[data-status=running]")).to_be_visible()
