"use strict";
// Draws the page anew every five seconds, section by section and only where it
// changed, so that scrolling, selecting and screen readers are left in peace.
(() => {
  const stale = document.getElementById("stale");
  const selecting = () => !getSelection().isCollapsed;
  async function refresh() {
    if (document.hidden || selecting()) return;
    try {
      const answer = await fetch(location.pathname + location.search, {cache: "no-store", signal: AbortSignal.timeout(10000)});
      if (!answer.ok) throw new Error("status " + answer.status);
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const section of next.querySelectorAll("[data-live]")) {
        const here = document.getElementById(section.id);
        if (here && here.innerHTML !== section.innerHTML) here.replaceChildren(...section.childNodes);
      }
      document.title = next.title;
      document.getElementById("icon").href = next.getElementById("icon").href;
      document.body.className = next.body.className;
      stale.hidden = true;
    } catch {
      const seen = document.querySelector("#taken time").textContent;
      const text = "No answer from the connector. What stands here is from " + seen + " UTC.";
      if (stale.hidden || stale.textContent !== text) stale.textContent = text;
      stale.hidden = false;
    }
  }
  setInterval(refresh, 5000);
  document.addEventListener("visibilitychange", refresh);
})();
