"""Two people share one slot, each in a browser of their own: their runs start in turn, and limits say so."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from playwright.sync_api import Browser, Page, expect
from sqlalchemy import text

from app.store.database import open_database, reading
from tests.people import ADMINISTRATOR, NAMES, PASSWORD
from tests.system.running_yard import RunningYard
from tests.system.test_browser_people import add, look_at, sign_in, someone

ADA, GRACE = ADMINISTRATOR, NAMES["member"]
SMALL = "/launch?family=simple_mlp&size=tiny&dataset=digits&epochs=1"


@contextmanager
def form(page: Page, yard: RunningYard, seeds: int) -> Iterator[Page]:
    """Launch a run with several seeds, on another page of the same person."""
    another = page.context.new_page()
    another.goto(f"{yard.address}{SMALL}&seeds={seeds}")
    another.locator("#launch").get_by_role("button", name=f"Launch {seeds} runs").click()
    yield another
    another.close()


def started(yard: RunningYard) -> list[tuple[str, str, int]]:
    """Person, ID and number of attempts of each run, in the order of their starts, once all have succeeded."""
    engine = open_database(yard.database)
    with reading(engine) as connection:
        found = connection.execute(
            text("SELECT created_by, id, attempt, status FROM run ORDER BY started_at, number")
        ).all()
    engine.dispose()
    return [tuple(row[:3]) for row in found] if {row.status for row in found} == {"succeeded"} else []


def test_two_people_take_turns_and_are_told_their_limits(
    browser: Browser, own_yard: Callable[..., RunningYard]
) -> None:
    # On a busy machine, a run that is lost would take another turn.
    yard = own_yard(slots=1, RUNYARD_SIGN_IN="always", RUNYARD_LEASE_SECONDS="120")
    with ExitStack() as stack:
        ada, grace = (stack.enter_context(someone(browser)) for _ in range(2))
        (link,) = yard.until(lambda: re.findall(r"http://\S+/welcome\?code=\S+", yard.output.read_text()))
        ada.goto(link)
        ada.get_by_label("Name").fill(ADA)
        for label in ("Password", "Repeat password"):
            ada.get_by_label(label, exact=True).fill(PASSWORD)
        ada.get_by_role("button", name="Create administrator").click()
        expect(ada.locator("#yard")).to_contain_text("1 worker", timeout=180_000)
        ada.goto(f"{yard.address}/admin")
        add(ada, GRACE, "member")

        # While the queue is paused, one launches four runs and then the other three: they stand in turn.
        ada.goto(f"{yard.address}/queue")
        ada.locator("#queue-pause").click()
        expect(ada.locator("#queue-paused")).to_be_visible()
        with form(ada, yard, 4) as launched:
            expect(launched).to_have_url(re.compile("/sweeps/"))
        expect(ada.locator("#queue-rows > li")).to_have_count(4)
        sign_in(grace, yard, GRACE, "/queue")
        with form(grace, yard, 3) as launched:
            expect(launched).to_have_url(re.compile("/sweeps/"))
        # Both see what the other has launched without doing anything.
        for page in (ada, grace):
            expect(page.locator("#queue-rows > li")).to_have_count(7)
            expect(page.locator("#queue-turns")).to_contain_text("People take turns")
        people = ada.locator("#queue-rows > li").evaluate_all("rows => rows.map((row) => row.dataset.person)")
        assert people == [ADA, GRACE] * 3 + [ADA]

        # The last of ada's runs moves to the top of hers; what crosses the other's is refused with a sentence.
        last = ada.locator(f"#queue-rows > li[data-person={ADA}]").last
        moved = last.get_attribute("data-run")
        last.focus()
        last.press("Alt+Home")
        expect(ada.locator("#queue-rows > li").first).to_have_attribute("data-run", str(moved))
        faults = look_at(browser, ada, f"{yard.address}/queue")

        # A limit of four queued runs refuses a launch of two more as a whole, and leaves the others where they are.
        ada.goto(f"{yard.address}/admin")
        for label, number in (("Most active", 1), ("Most queued", 4)):
            ada.get_by_label(f"{label} runs of {GRACE}").fill(str(number))
        ada.get_by_role("button", name=f"Set limits of {GRACE}").click()
        expect(ada.get_by_label(f"Most queued runs of {GRACE}")).to_have_value("4")
        with form(grace, yard, 2) as launched:
            sentence = "Grace may have at most 4 runs queued at once, and 3 are queued; nothing was launched"
            expect(launched.locator("main")).to_contain_text(sentence)
        expect(grace.locator("#queue-rows > li")).to_have_count(7)
        ada.goto(f"{yard.address}/queue")
        ada.locator("#queue-resume").click()
        for page in (ada, grace):
            expect(page.locator("#queue-rows > li")).to_have_count(0, timeout=180_000)

        order = yard.until(lambda: started(yard))
        assert [(person, attempts) for person, _, attempts in order] == [(ADA, 1), (GRACE, 1)] * 3 + [(ADA, 1)]
        assert order[0][1] == moved

        ada.goto(f"{yard.address}/admin/audit")
        log = ada.locator("#audit tbody tr")
        for name in (ADA, GRACE):
            expect(log.filter(has_text="run.launch").filter(has=ada.get_by_role("cell", name=name))).to_have_count(1)
        expect(log.filter(has_text="person.limit").filter(has_text=GRACE)).to_have_count(1)

        # Whoever is removed leaves their runs, and comes back with Undo.
        ada.goto(f"{yard.address}/admin")
        ada.get_by_role("link", name=f"Remove {GRACE}").click()
        expect(ada.locator("main")).to_contain_text(f"3 runs and 1 sweep with the name {GRACE}")
        ada.get_by_role("button", name=f"Remove {GRACE}").click()
        expect(ada.locator("#removed-notice")).to_contain_text(f"{GRACE} was removed")
        # On a page of its own: the one that is open may be going to the same place by itself.
        another = grace.context.new_page()
        another.goto(f"{yard.address}/runs")
        expect(another).to_have_url(re.compile("/sign-in"))
        ada.get_by_role("button", name=f"Undo removing {GRACE}").click()
        expect(ada.get_by_label(f"Role of {GRACE}")).to_have_value("member")
        assert faults == []
