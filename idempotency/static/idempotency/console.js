// The overview refreshes itself every ten seconds, until it is paused or nobody looks.
"use strict";

const EVERY_MS = 10000;
const part = document.getElementById("refreshed");
const pause = document.getElementById("pause");
const stale = document.getElementById("stale");
let isAsking = false;

const isPaused = () => pause.getAttribute("aria-pressed") === "true";

async function refresh() {
  // What somebody points at, or has reached by the keyboard, stays until they leave it.
  if (isPaused() || document.hidden || part.matches(":hover") || part.contains(document.activeElement)) {
    return;
  }
  // One at a time: a service that is slow is not to have a heap of them.
  if (isAsking) {
    return;
  }
  isAsking = true;
  try {
    const limits = { redirect: "error", signal: AbortSignal.timeout(EVERY_MS) };
    const answer = await fetch(part.dataset.url, limits);
    stale.hidden = answer.ok;
    if (answer.ok) {
      part.innerHTML = await answer.text();
    }
  } catch {
    stale.hidden = false; // or "All is well" would stand there while nothing answers
  } finally {
    isAsking = false;
  }
}

pause.hidden = false;
pause.addEventListener("click", () => {
  const paused = !isPaused();
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Go on" : "Pause";
});

setInterval(refresh, EVERY_MS);
