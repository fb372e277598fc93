"use strict";
// Fetches the page's own address again and puts the new numbers in the place of the old. What the reader does is left
// alone: the form is no part of what is replaced, and focus and scroll position are put back.
(() => {
  const seconds = Number(document.getElementById("refresh").dataset.seconds);
  const auto = document.getElementById("auto");
  const refreshed = document.getElementById("refreshed");
  const stale = document.getElementById("stale");
  // An answer that takes longer is none.
  const patience = 2 * seconds * 1000;
  const data = () => document.getElementById("data");
  let latest = Date.now();
  let problem = "";
  let running = false;

  // The element of the new part that stands where one of the old part had the focus.
  const counterpart = (old, fresh) => {
    if (!old || !data().contains(old) || !old.matches("a[href]")) return null;
    const same = (part) => [...part.querySelectorAll("a[href]")].filter((a) => a.getAttribute("href") === old.getAttribute("href"));
    return same(fresh)[same(data()).indexOf(old)] || same(fresh)[0] || null;
  };

  // A link that is replaced between press and release is not followed. No press is longer than two seconds: its end may
  // be elsewhere, and not be seen.
  let pressed = 0;
  document.addEventListener("pointerdown", () => { pressed = Date.now(); });
  document.addEventListener("pointerup", () => { pressed = 0; });
  const isPressed = () => Math.abs(Date.now() - pressed) < 2000;

  // Nobody can copy a task's ID from a text that is replaced meanwhile.
  const isBeingSelected = () => {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed && data().contains(selection.anchorNode);
  };

  const replace = (fresh, page) => {
    const focused = counterpart(document.activeElement, fresh);
    const [x, y] = [window.scrollX, window.scrollY];
    data().replaceWith(fresh);
    if (focused) focused.focus({ preventScroll: true });
    window.scrollTo(x, y);
    document.title = page.title;
    // New groups can be chosen, and the choice that is made stays.
    const [groups, known] = [page.getElementById("group"), document.getElementById("group")];
    if (groups && document.activeElement !== known) {
      const chosen = known.value;
      known.replaceChildren(...groups.options);
      known.value = chosen;
    }
  };

  const refresh = async () => {
    if (running) return;
    running = true;
    try {
      const answer = await fetch(location.pathname + location.search, {
        cache: "no-store",
        signal: AbortSignal.timeout(patience),
      });
      if (!answer.ok) throw new Error(answer.status === 401 ? "It asks for a password: load this page anew." : `It answers with status ${answer.status}.`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("data");
      if (!fresh) throw new Error("It answers with another page: load this one anew.");
      if (!isPressed() && !isBeingSelected()) {
        replace(fresh, page);
        latest = Date.now();
      }
      problem = "";
    } catch (error) {
      problem = error.message.startsWith("It ") ? error.message : "The exporter does not answer.";
    }
    running = false;
    tell();
  };

  const tell = () => {
    const age = Math.max(0, Math.round((Date.now() - latest) / 1000));
    const paused = isBeingSelected() ? ", paused while text is selected" : auto.checked ? "" : ", paused";
    refreshed.textContent = `As of ${data().dataset.now}, ${age} s ago${paused}`;
    const text = problem && `This page is out of date, as of ${data().dataset.now}. ${problem}`;
    document.documentElement.classList.toggle("old", problem !== "");
    // Written only when it changes, or it would be read out again and again.
    if (stale.textContent !== text) stale.textContent = text;
    stale.hidden = !text;
    if (text && !document.title.startsWith("Out of date")) document.title = `Out of date: ${document.title}`;
  };

  let next = Date.now() + seconds * 1000;
  const turn = () => {
    if (document.hidden) return;
    if (auto.checked && Date.now() >= next) {
      next = Date.now() + seconds * 1000;
      refresh();
    }
    tell();
  };
  auto.parentElement.hidden = false;
  auto.addEventListener("change", () => { next = 0; turn(); });
  document.addEventListener("visibilitychange", () => { next = 0; turn(); });
  window.addEventListener("pageshow", (event) => { if (event.persisted) { next = 0; turn(); } });
  setInterval(turn, 1000);
})();
