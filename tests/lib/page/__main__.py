"""Looks at the exporter's page in a real browser.

    python3 tests/lib/page BINARY [FOLDER]      BINARY is the exporter; pictures are kept in FOLDER, to be looked at

In this order: what comes from outside is inert and reorders nothing; the page reads well in light and dark, wide and
narrow, and on paper; a refresh leaves alone what the reader does; an exporter that is gone, or an API that fails, shows;
and nothing of all that made the browser complain or ask anybody else.
"""

import contextlib
import pathlib
import signal
import sys
import tempfile
import time
import urllib.parse

from browser import browsing
from installation import SECRETS, Api, Exporter
from processes import Failed, check

# Seconds for everything: some 60 are needed on two cores.
TIME_LIMIT = 150
# What tries to be more than a name. Where it stands must not matter.
EVIL = [
    "<script>window.evil=1</script>",
    "\"><img src=x onerror=window.evil=1>",
    "'-alert(1)-'&amp;<b>",
    "</style></title><svg onload=window.evil=1>",
    "invoice\u202egpj.exe",
    "\u2067right to left\u2066",
]
GROUPS = ["invoices", "photos", *EVIL[:2], EVIL[4]]
# The narrowest phone that is still in use, in pixels.
PHONE = 360
# The least contrast of a text and what is behind it that everybody can read, after WCAG's level AA.
CONTRAST = 4.5

# The texts that are seen, with the contrast of each; in the page.
READ_CONTRAST = """
const parse = (color) => { const n = color.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n.length > 3 ? n[3] : 1]; };
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = parse(getComputedStyle(at).backgroundColor);
    if (color[3] > 0) return color;
  }
  return [255, 255, 255, 1];
};
const dim = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility() || element.closest("script, option, .spoken")) continue;
  const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < arguments[0]) dim.push(`${element.outerHTML.slice(0, 80)}: ${contrast.toFixed(2)}`);
}
return dim;
"""


class Look:
    """The parts of the look, in their order."""

    def __init__(self, browser, exporter, api, pictures):
        self._browser = browser
        self._exporter = exporter
        self._api = api
        self._pictures = pictures
        if pictures:
            pictures.mkdir(parents=True, exist_ok=True)

    def _picture(self, name):
        if self._pictures:
            self._browser.picture(self._pictures / f"{name}.png")

    def empty(self):
        """Shows that a page without a task says so."""
        self._browser.show(1280)
        # What the browser's own first page asks for is no concern of the exporter's.
        self._browser.open("about:blank")
        self._browser.requests()
        self._browser.open(f"{self._exporter.url}/")
        text = self._browser.run("return document.body.innerText")
        check("No task has ever been tracked" in text and "nothing to poll" in text, f"an empty page says: {text}")
        self._picture("empty")

    def from_outside(self):
        """Shows that names from outside are inert and reorder nothing."""
        for number, evil in enumerate(EVIL):
            files = [(f"{evil}.pdf", "failed", evil), ("k" * 500, "in_progress", None)]
            self._api.tasks[f"task {number} {evil}"] = ("in_progress", files)
            self._exporter.follow(f"task {number} {evil}", GROUPS[number % len(GROUPS)])
        for number in range(40):
            files = [(f"in_{number}", "queued", None), (f"out_{number}", "completed", None)]
            self._api.tasks[f"main_task_{number:016x}"] = ("in_progress", files)
            self._exporter.follow(f"main_task_{number:016x}", GROUPS[number % 2])
        self._exporter.await_page(
            "every task is observed", lambda page: ">46 tasks<" in page and "not yet observed" not in page
        )
        evil = "".join(EVIL)
        query = urllib.parse.urlencode({"group": evil, "state": evil, "q": evil})
        for address in ["/", f"/?{query}", f"/?{urllib.parse.urlencode({'q': EVIL[0]})}"]:
            self._browser.open(f"{self._exporter.url}{address}")
            found = self._browser.run(
                "const own = ['SCRIPT', 'STYLE', 'TITLE'];"
                "return [typeof window.evil, document.querySelectorAll('img, svg, iframe, object, b').length,"
                " own.map((name) => document.getElementsByTagName(name).length).join(),"
                " [...document.querySelectorAll('*')].filter((e) => [...e.attributes].some((a) => a.name.startsWith('on'))).length,"
                " document.body.innerText]"
            )
            check(found[:4] == ["undefined", 0, "1,1,1", 0], f"{address} is more than a page: {found[:4]}")
            check("<script>window.evil" in found[4], f"{address} does not show the name: {found[4]}")
            check("\u202e" not in found[4] and "\u2067" not in found[4], f"{address} shows what reorders a line")
        self._browser.open(f"{self._exporter.url}/?{query}")
        typed = self._browser.run("return document.getElementById('q').value")
        check(typed == evil, f"the form keeps {typed!r}")
        text = self._browser.run("return document.getElementById('data').innerText")
        check("There is no group" in text and "There is no state" in text, f"no word of what is unknown: {text}")
        self._picture("unknown-filter")
        self._browser.open(f"{self._exporter.url}/?{urllib.parse.urlencode({'q': EVIL[4]})}")
        rows = self._browser.run("return document.querySelectorAll('#failures tbody tr').length")
        check(rows == 1, f"a name that would reorder a line is found {rows} times")

    def appearance(self):
        """Shows that it can be read in light and dark, wide and narrow, and on paper."""
        backs = {}
        for scheme in ["light", "dark"]:
            for width in [1280, 1024, 980, 820, PHONE]:
                self._browser.show(width, scheme=scheme)
                self._browser.open(f"{self._exporter.url}/?q=k")
                self._browser.open(f"{self._exporter.url}/")
                wide = self._browser.run("return document.documentElement.scrollWidth")
                check(wide <= width, f"{width} pixels wide, the page is {wide} wide")
                dim = self._browser.run(READ_CONTRAST, CONTRAST)
                check(not dim, f"hard to read in {scheme}: {dim[:5]}")
                backs[scheme] = self._browser.run("return getComputedStyle(document.body).backgroundColor")
                self._picture(f"{scheme}-{width}")
        check(backs["light"] != backs["dark"], f"light and dark are both {backs['light']}")
        roles = self._browser.devtools("Accessibility.getFullAXTree")["nodes"]
        roles = [node.get("role", {}).get("value") for node in roles]
        missing = {"table", "rowheader", "columnheader", "cell", "search", "main", "navigation"} - set(roles)
        check(not missing, f"narrow, who hears the page misses {missing}")
        self._browser.show(1280, media="print")
        self._picture("print")
        form = self._browser.run("return document.querySelector('form').checkVisibility()")
        check(not form, "the form is printed")

    def refresh(self):
        """Shows that a refresh leaves alone what the reader does."""
        self._browser.show(1280, height=600)
        address = f"{self._exporter.url}/?group=invoices&state=in_progress&q=main_task"
        self._browser.open(address)
        self._browser.type("#q", "_typed")
        self._browser.run("window.scrollTo(0, 300)")
        before = self._browser.run("return document.getElementById('data').dataset.now")
        for files in [task[1] for name, task in self._api.tasks.items() if name.endswith("0")]:
            files.append(("in_appended", "failed", "appended_code"))
        self._browser.until(
            "the failure comes by a refresh", "return document.getElementById('data').innerText.includes('appended_code')"
        )
        state = self._browser.run(
            "return [document.activeElement.id, document.getElementById('q').value, document.getElementById('group').value,"
            " window.scrollY, location.href, document.getElementById('data').dataset.now]"
        )
        kept = ["q", "main_task_typed", "invoices", 300, address]
        check(state[:5] == kept and state[5] != before, f"a refresh leaves {state}, and not {kept}")
        groups = self._browser.run(
            "return [...new Set([...document.querySelectorAll('#unfinished tbody tr')].map((row) => row.lastChild.innerText))]"
        )
        check(groups == ["invoices"], f"after a refresh the filter shows {groups}")

        self._browser.run("document.querySelector('#unfinished tbody tr:nth-child(3) a').focus({preventScroll: true}); window.old = document.activeElement")
        href = self._browser.run("return window.old.getAttribute('href')")
        self._browser.until("the row is another element", "return !window.old.isConnected")
        focus = self._browser.run("return document.activeElement.getAttribute('href')")
        check(focus == href, f"a refresh moves the focus from {href} to {focus}")

        self._browser.run(
            "window.old = document.getElementById('data');"
            "document.getSelection().selectAllChildren(document.querySelector('#unfinished tbody tr th'))"
        )
        self._browser.until("it says that it waits", "return document.getElementById('refreshed').innerText.includes('selected')")
        asked = "return performance.getEntriesByType('resource').length"
        self._browser.until("it asks again all the same", f"{asked} > arguments[0]", self._browser.run(asked))
        check(self._browser.run("return window.old.isConnected"), "a refresh replaces a text that is being selected")
        self._browser.run("document.getSelection().removeAllRanges()")
        self._browser.until("it goes on afterwards", "return !window.old.isConnected")

    def exporter_gone(self):
        """Shows that a page says when it is out of date, and when it no longer is."""
        visible = "return document.getElementById('stale').checkVisibility()"
        self._browser.open(f"{self._exporter.url}/?group=invoices")
        check(not self._browser.run(visible), "a fresh page is called out of date")
        self._exporter.program.kill()
        self._browser.until("the page is called out of date", visible)
        says = self._browser.run("return [document.title, document.getElementById('stale').innerText, document.getElementById('stale').getAttribute('role')]")
        check(says[0].startswith("Out of date") and "does not answer" in says[1] and says[2] == "alert", f"it says {says}")
        self._picture("exporter-gone")
        self._exporter.program.start()
        self._exporter.await_ready()
        self._browser.until("the page is no longer called out of date", f"return !({visible.removeprefix('return ')})")
        title = self._browser.run("return document.title")
        check("Out of date" not in title, f"the title is still {title}")

    def api_fails(self):
        """Shows that an API that fails is told from work that fails, with the reason."""
        for status, says in [(500, "the latest request failed"), (429, "rate limited"), (401, "the key is not accepted")]:
            self._api.status = status
            self._browser.open(f"{self._exporter.url}/")
            self._browser.until(f"status {status} shows", "return document.querySelector('.tiles').innerText.includes(arguments[0])", says)
            self._picture(f"api-{status}")

    def was_quiet(self):
        """Shows that the browser had nothing to complain of and asked nobody else."""
        # That it could not reach an exporter that was gone is as it should be.
        said = [message for message in self._browser.console() if "net::ERR_" not in message]
        check(not said, f"the console says {said}")
        others = [url for url in self._browser.requests() if not url.startswith((f"{self._exporter.url}/", "data:"))]
        check(not others, f"the page asks elsewhere: {others}")
        page = self._exporter.page()
        shown = [secret for secret in SECRETS if secret in page]
        check(not shown, f"the page shows {shown}")


def main(binary, pictures=None):
    """Runs all parts within the time limit."""
    signal.alarm(TIME_LIMIT)
    began = time.time()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        api = Api()
        exporter = stack.enter_context(Exporter(binary, stack.enter_context(api.serving()), folder).running())
        browser = stack.enter_context(browsing(folder))
        look = Look(browser, exporter, api, pictures and pathlib.Path(pictures))
        for part in [
            look.empty,
            look.from_outside,
            look.appearance,
            look.refresh,
            look.exporter_gone,
            look.api_fails,
            look.was_quiet,
        ]:
            part()
            print(f"{part.__name__.replace('_', ' ')}: well, after {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Failed as failed:
        sys.exit(f"page: {failed}")
