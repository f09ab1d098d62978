// The overview refreshes itself every ten seconds, until it is paused or nobody looks.
"use strict";

const EVERY_MS = 10000;
const part = document.getElementById("refreshed");
const pause = document.getElementById("pause");

const isPaused = () => pause.getAttribute("aria-pressed") === "true";

async function refresh() {
  // What somebody points at, or has reached by the keyboard, stays until they leave it.
  if (isPaused() || document.hidden || part.matches(":hover") || part.contains(document.activeElement)) {
    return;
  }
  const answer = await fetch(part.dataset.url, { redirect: "error" });
  if (answer.ok) {
    part.innerHTML = await answer.text();
  }
}

pause.hidden = false;
pause.addEventListener("click", () => {
  const paused = !isPaused();
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Go on" : "Pause";
});

setInterval(() => refresh().catch(() => {}), EVERY_MS);
