"""The console as a person uses it: what is opened, read and clicked, by the words on the page."""

from dataclasses import dataclass

from playwright.sync_api import Locator, Page, Response

from sandbox.supervisor import wait_until

ADMIN = "/admin/"
OVERVIEW = "/admin/idempotency/overview/"
REQUESTS = "/admin/idempotency/idempotencykey/"
REVIEW = "/admin/idempotency/requestunderreview/"


class Complaints:
    """What the browser finds wrong: errors of scripts and of the policy, files not found."""

    def __init__(self, page: Page) -> None:
        self._said: list[tuple[str, str]] = []
        self._documents: set[str] = set()
        page.on("console", lambda said: self._keep(said.type, said.text, said.location["url"]))
        page.on("pageerror", lambda error: self._said.append((str(error), "")))
        page.on("response", self._note)

    def _keep(self, kind: str, text: str, url: str) -> None:
        if kind in ("error", "warning"):
            self._said.append((text, url))

    def _note(self, response: Response) -> None:
        if response.request.is_navigation_request():
            self._documents.add(response.url)

    @property
    def all(self) -> list[str]:
        """Return them, but for a page that is itself an answer such as 409, and for the icon that
        the browser asks for by itself.
        """
        return [
            f"{text} {url}"
            for text, url in self._said
            if not (url in self._documents or url.endswith("/favicon.ico"))
        ]


@dataclass
class Console:
    """A page of the admin, and what is done there."""

    page: Page
    url: str
    clicks: int = 0
    """Since the overview was opened."""

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    def open_overview(self) -> None:
        self.open(OVERVIEW)
        self.clicks = 0

    def click(self, what: Locator) -> None:
        what.click()
        self.clicks += 1

    def click_tile(self, title: str) -> None:
        self.click(self.tile(title).get_by_role("link"))

    def click_link(self, name: str) -> None:
        self.click(self.page.locator("#content").get_by_role("link", name=name, exact=True))

    def tile(self, title: str) -> Locator:
        return self.page.locator(".console-tiles li").filter(has_text=title)

    def chart(self, title: str) -> Locator:
        return self.page.locator(".console-charts figure").filter(has_text=title)

    def count(self, title: str) -> int:
        """Return the number on a tile."""
        return int(self.tile(title).locator("strong").inner_text().replace(",", ""))

    def worker(self, name: str) -> str:
        """Return what the overview says of a worker."""
        return self.page.locator(".console-workers li").filter(has_text=name).inner_text()

    def wait_for(self, title: str, count: int) -> None:
        """Reload the overview until a tile has its number."""

        def has_come() -> bool:
            self.open_overview()
            return self.count(title) == count

        wait_until(has_come)

    def search(self, term: str) -> None:
        self.page.locator("#searchbar").fill(term)
        self.page.get_by_role("button", name="Search").click()

    def rows(self) -> Locator:
        return self.page.locator("#result_list tbody tr")

    def act(self, title: str, reason: str) -> None:
        """Give a reason on an act's or a decision's page, and have it done."""
        self.page.get_by_label("Reason").fill(reason)
        self.page.get_by_role("button", name=title, exact=True).click()

    def messages(self) -> str:
        return self.page.locator(".messagelist").inner_text()
