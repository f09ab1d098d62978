"""Draw the four pictures of the pages: `python docs/images/draw.py` writes them beside this file.

Each is one SVG for light and dark, whose text is text.
"""

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent
WIDTH = 760
LINE = 17

STYLE = """
svg { --ink: #1f2328; --paper: #ffffff; --dim: #57606a; --atomic: #ddf4ff; --foreign: #fff1cc;
      --good: #1a7f37; --bad: #cf222e }
@media (prefers-color-scheme: dark) {
svg { --ink: #e6edf3; --paper: #0d1117; --dim: #9198a1; --atomic: #12395f; --foreign: #4d3800;
      --good: #3fb950; --bad: #ff7b72 } }
text { font: 13px system-ui, sans-serif; fill: var(--ink); text-anchor: middle }
.free { paint-order: stroke; stroke: var(--paper); stroke-width: 4px }
.left { text-anchor: start } .dim { fill: var(--dim) } .bold { font-weight: 600 }
.code { font-family: ui-monospace, monospace; font-size: 12px }
.paper { fill: var(--paper) } .box { stroke: var(--dim) }
.atomic { fill: var(--atomic) } .foreign { fill: var(--foreign) } .plain { fill: var(--paper) }
.line { stroke: var(--dim); fill: none; stroke-width: 1.5 } .lost { stroke-dasharray: 4 4 }
.tip { fill: var(--dim) } text.good { fill: var(--good) } text.bad { fill: var(--bad) }
"""


@dataclass
class Picture:
    """The elements of one picture, and what it says to those who do not see it."""

    title: str
    description: str
    height: int
    elements: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: str, look: str = "") -> None:
        """Write on the paper; a rim of its colour keeps lines out of the letters."""
        self._write(x, y, words, f"free {look}".rstrip())

    def _write(self, x: float, y: float, words: str, look: str) -> None:
        self.elements.append(f'<text x="{x:g}" y="{y:g}" class="{look}">{escape(words)}</text>')

    def box(self, x: float, y: float, width: float, look: str, *lines: str) -> None:
        """Draw a box of some lines, the first of which is its name."""
        height = LINE * len(lines) + 18
        self.elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height}" rx="6"'
            f' class="box {look}"/>'
        )
        for number, words in enumerate(lines):
            place = y + 21 + LINE * number
            self._write(x + width / 2, place, words, "" if number else "bold")

    def line(self, points: str, look: str = "") -> None:
        self.elements.append(f'<polyline points="{points}" class="line {look}"/>')

    def arrow(self, points: str, look: str = "") -> None:
        self.elements.append(
            f'<polyline points="{points}" class="line {look}" marker-end="url(#tip)"/>'
        )

    def lane(self, x: float, name: str, width: float = 118) -> None:
        """Draw whom a column of a sequence is of."""
        self.box(x - width / 2, 16, width, "plain", name)
        self.line(f"{x:g},51 {x:g},{self.height - 18}", "lost")

    def message(self, start: float, end: float, y: float, words: str, look: str = "") -> None:
        """Draw what one of a sequence says to another."""
        inset = 4 if end > start else -4
        self.arrow(f"{start:g},{y:g} {end - inset:g},{y:g}", look)
        self.text((start + end) / 2, y - 7, words)

    def written(self) -> str:
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}"'
                f' width="{WIDTH}" height="{self.height}" role="img">',
                f"<title>{escape(self.title)}</title>",
                f"<desc>{escape(self.description)}</desc>",
                f"<style>{STYLE}</style>",
                '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
                ' markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" class="tip"/></marker>',
                f'<rect width="{WIDTH}" height="{self.height}" rx="8" class="paper"/>',
                *self.elements,
                "</svg>\n",
            ]
        )


def phases() -> Picture:
    picture = Picture(
        "A request and its phases",
        "A request claims its key and runs an atomic phase in one transaction; calls the provider "
        "in a foreign phase with no transaction open; and records the result, with the answer, in "
        "another transaction. Each commit names the recovery point at which the next attempt "
        "enters.",
        316,
    )
    for x, width, words in (
        (140, 226, "one transaction"),
        (386, 116, "none is open"),
        (522, 222, "one transaction"),
    ):
        picture.text(x + width / 2, 32, words, "dim")
        picture.line(f"{x},52 {x},42 {x + width},42 {x + width},52")
    picture.box(16, 66, 104, "plain", "request", "with its", "own key")
    picture.box(140, 66, 100, "atomic", "claim", "a lease and", "its token")
    picture.box(260, 66, 106, "atomic", "atomic phase", "the order", "is created")
    picture.box(386, 66, 116, "foreign", "foreign phase", "the provider", "charges, once")
    picture.box(522, 66, 106, "atomic", "its commit", "the charge", "is recorded")
    picture.box(648, 66, 96, "atomic", "answer", "is stored", "and sent")
    for start, end in ((120, 140), (240, 260), (366, 386), (502, 522), (628, 648)):
        picture.arrow(f"{start},100 {end},100")
    for x, point in ((190, "started"), (376, "ordered"), (696, "finished")):
        top = 138 if x < 696 else 137
        picture.line(f"{x},{top} {x},166", "lost")
        picture.text(x, 184, point, "code")
    picture.text(16, 184, "recovery points", "left dim")
    picture.box(140, 236, 226, "plain", "a retry, or the completer")
    picture.arrow("205,236 194,194")
    picture.arrow("340,236 372,194")
    picture.arrow("366,254 696,254 696,194", "lost")
    picture.text(530, 246, "from here on: the same bytes")
    picture.text(
        16, 300, "It enters at the point that was committed last, whichever process it is.", "left"
    )
    return picture


def recovery() -> Picture:
    picture = Picture(
        "A crash, and its recovery",
        "The first process is killed after the provider has charged and before it could record "
        "that. When its lease has run out the completer claims the key and sends the same call "
        "with the same key; the provider answers with the charge that it made. The client's retry "
        "gets the stored answer.",
        476,
    )
    client, first, database, completer, provider = 75, 228, 380, 532, 685
    for x, name in (
        (client, "client"),
        (first, "process 1"),
        (database, "PostgreSQL"),
        (completer, "completer"),
        (provider, "provider"),
    ):
        picture.lane(x, name)
    picture.message(client, first, 84, "request, key K")
    picture.message(first, database, 116, "claim, order")
    picture.message(first, provider, 148, "charge, key F")
    picture.message(provider, first, 180, "charged", "lost")
    picture.text(first, 204, "✗ kill -9", "bad bold")
    picture.message(first, client, 228, "no answer", "lost")
    picture.text(database, 232, "the lease runs out", "dim")
    picture.message(completer, database, 268, "claim, new token")
    picture.message(completer, provider, 300, "charge, key F")
    picture.message(provider, completer, 332, "the same charge")
    picture.message(completer, database, 364, "charge, answer")
    picture.text(database, 388, "finished", "code good")
    picture.message(client, database, 416, "request, key K, again")
    picture.message(database, client, 448, "the stored answer")
    return picture


def fence() -> Picture:
    picture = Picture(
        "The fence",
        "The first process is frozen for longer than its lease. Another one takes the key over "
        "and draws a token of its own. When the first wakes up, its UPDATE compares the old "
        "token, finds no row, and its transaction is rolled back.",
        404,
    )
    first, row, second = 130, 380, 630
    for x, name in ((first, "process 1"), (row, "the key's row"), (second, "process 2")):
        picture.lane(x, name, 130)
    picture.message(first, row, 86, "claim")
    picture.text(row + 8, 106, "lease_token = a", "left code")
    picture.box(first - 72, 112, 144, "plain", "frozen", "a paused machine,", "a SIGSTOP")
    picture.text(row, 142, "the lease runs out", "dim")
    picture.message(second, row, 178, "claim")
    picture.text(row + 8, 198, "lease_token = b", "left code")
    picture.message(second, row, 234, "UPDATE … WHERE lease_token = b")
    picture.text(second, 256, "1 row: COMMIT", "good bold")
    picture.text(row, 280, "finished", "code good")
    picture.text(first, 304, "wakes up", "dim")
    picture.message(first, row, 332, "UPDATE … WHERE lease_token = a")
    picture.text(first, 356, "0 rows: ROLLBACK", "bad bold")
    picture.text(row, 380, "The order, the charge's id and the job of process 1 go with it.", "dim")
    return picture


def job() -> Picture:
    picture = Picture(
        "The life of a job",
        "A phase stages a job in its own transaction. The enqueuer hands it to the queue and "
        "leaves a delivery record. A worker leases the record, does the job, and removes the "
        "record in the commit of what the job writes. What was lost or failed is handed over "
        "again, and after ten deliveries set aside for a person.",
        330,
    )
    picture.text(96, 34, "a phase commits", "dim")
    picture.text(300, 34, "the enqueuer", "dim")
    picture.text(500, 34, "a worker", "dim")
    picture.box(16, 50, 160, "atomic", "staged", "a row, or nothing:", "as the phase")
    picture.box(216, 50, 168, "atomic", "handed over", "a message, and its", "delivery record")
    picture.box(424, 50, 152, "foreign", "in hand", "the record is leased,", "with a token")
    picture.box(616, 50, 128, "atomic", "settled", "the record goes", "with its effect")
    for start, end in ((176, 216), (384, 424), (576, 616)):
        picture.arrow(f"{start},84 {end},84")
    picture.box(424, 166, 152, "plain", "not settled", "failed, killed, lost")
    picture.arrow("500,119 500,166")
    picture.arrow("424,186 320,186 320,119")
    picture.text(300, 206, "again, after 1, 2, 4 … minutes")
    picture.box(616, 166, 128, "plain", "set aside", "for a person")
    picture.arrow("576,192 616,192")
    picture.text(590, 240, "after ten deliveries")
    picture.arrow("96,119 96,166", "lost")
    picture.text(96, 186, "run_after", "code")
    picture.text(96, 206, "waits here for its time", "dim")
    picture.text(
        16,
        280,
        "A message that comes twice finds no record, or a live lease: it does nothing.",
        "left",
    )
    picture.text(
        16,
        304,
        "A worker that lost its lease keeps nothing: the commit compares its token.",
        "left",
    )
    return picture


if __name__ == "__main__":
    for drawn in (phases, recovery, fence, job):
        (FOLDER / f"{drawn.__name__}.svg").write_text(drawn().written())
