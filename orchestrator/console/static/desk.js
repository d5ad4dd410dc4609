// Live pages: news of the journal has the part of the page that shows it fetched again. Without this file every page
// can still be read, and everything still be done.
"use strict";
(() => {
  const AT_MOST_EVERY_MS = 1000;
  const FIGURES_ARE_KEPT_MS = 3500; // by the server: what is fetched at once may miss the news that caused it
  const sign = document.getElementById("live-sign");
  let source = null;
  let due = null;
  let again = null;
  let last = 0;
  let opened = new Set();

  const part = () => document.getElementById("live");

  // What somebody is in the middle of isn't taken away: a choice of runs, a field, a selected text.
  const busy = () => {
    const live = part();
    if (!live) return true;
    const chosen = live.querySelector("input[type=checkbox]:checked");
    const typing = live.contains(document.activeElement) && document.activeElement.matches("input, textarea, select");
    const selected = String(window.getSelection() || "").length > 0;
    return Boolean(chosen || typing || selected || document.hidden);
  };

  const refresh = () => {
    due = null;
    if (busy()) { due = setTimeout(refresh, AT_MOST_EVERY_MS); return; }
    last = Date.now();
    window.htmx.ajax("GET", location.href, { target: "#live", select: "#live", swap: "outerHTML" });
  };

  // What is no run's news, but goes on by itself, is looked at from time to time for as long as it says so.
  const follow = () => {
    if (due === null && part() && "follow" in part().dataset) due = setTimeout(refresh, AT_MOST_EVERY_MS);
  };

  const listen = () => {
    if (source) source.close();
    source = null;
    const live = part();
    if (sign) sign.hidden = true;
    if (!live || !live.dataset.stream || "still" in live.dataset) return;
    source = new EventSource(live.dataset.stream);
    source.onopen = () => { if (sign) sign.hidden = false; };
    source.onerror = () => { if (sign) sign.hidden = true; };
    if ("figures" in live.dataset) again = setTimeout(refresh, FIGURES_ARE_KEPT_MS);
    const news = (event) => {
      if (event.type === "run" && JSON.parse(event.data).events.length === 0) return;
      if ("figures" in part().dataset) {
        clearTimeout(again);
        again = setTimeout(refresh, FIGURES_ARE_KEPT_MS);
      }
      if (due === null) due = setTimeout(refresh, Math.max(0, last + AT_MOST_EVERY_MS - Date.now()));
    };
    source.addEventListener("run", news);
    source.addEventListener("runs", news);
  };

  const place = (details) => {
    const inside = details.closest("[id]");
    const all = inside ? [...inside.querySelectorAll("details")] : [];
    return (inside ? inside.id : "") + ":" + all.indexOf(details);
  };

  document.addEventListener("htmx:beforeSwap", () => {
    opened = new Set([...document.querySelectorAll("#live details[open]")].map(place));
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const details of document.querySelectorAll("#live details")) {
      if (opened.has(place(details))) details.open = true;
    }
    follow();
    if (!(part().dataset.stream || "").includes("/runs/")) return;
    listen(); // it goes on from the events that are shown now
  });

  // The slider through time shows as it moves, without a page of its own for each place.
  document.addEventListener("change", (event) => {
    if (event.target.matches(".slider input[type=range]")) event.target.form.requestSubmit();
  });
  document.addEventListener("input", (event) => {
    if (!event.target.matches(".slider input[type=range]")) return;
    const told = event.target.form.querySelector("output");
    if (told) told.textContent = `${event.target.value} of ${event.target.max} events`;
  });

  // "/" goes to the search of the page, or to the runs; letters go nowhere while somebody types.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input, textarea, select")) return;
    event.preventDefault();
    const search = document.querySelector("input[type=search]");
    if (search) search.focus();
    else location.href = `${document.body.dataset.base}/runs`;
  });

  // What is to be pasted elsewhere is copied by a button, where the browser lets a page do that.
  const copyable = () => {
    if (!navigator.clipboard) return;
    for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = false;
  };
  document.addEventListener("htmx:afterSwap", copyable);
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const shown = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(shown.textContent);
      button.textContent = "Copied";
    } catch { // not allowed here: what is selected can be copied by hand
      window.getSelection().selectAllChildren(shown);
      button.textContent = "Selected: copy it with your keys";
    }
  });

  copyable();
  document.documentElement.classList.add("scripted");
  listen();
  follow();
})();
