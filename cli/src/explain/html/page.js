// The page: which step is shown, the timeline, keys, the address, predict and reveal.

const ROW = 52;
let lesson = null;
let shown = []; // the steps that the search found
let current = -1;
let isPredicting = false;
let isRevealed = true;
const answered = new Map(); // by step: how many of its questions were right, of how many

const phone = matchMedia("(max-width: 58rem)");

// The timeline: only what can be seen is there.

function drawLine() {
  const line = $("line"), spacer = $("spacer");
  const from = Math.max(0, Math.floor(line.scrollTop / ROW) - 6);
  const to = Math.min(shown.length, Math.ceil((line.scrollTop + (line.clientHeight || 600)) / ROW) + 6);
  spacer.replaceChildren(...shown.slice(from, to).map((at, i) => packetRow(lesson.steps[at], from + i)));
  const row = shown.indexOf(current);
  if (row >= from && row < to) line.setAttribute("aria-activedescendant", "row-" + lesson.steps[current].packet);
  else line.removeAttribute("aria-activedescendant");
}

function packetRow(step, row) {
  const isSecret = isPredicting && step.at >= current && !(step.at === current && isRevealed) && !answered.has(step.at);
  const badge = isSecret ? null : step.info === "invalid" ? el("span.badge.invalid", {}, "INVALID") : step.verdict === "drop" ? el("span.badge.drop", {}, "dropped")
    : step.clash ? el("span.badge.clash", {}, "port taken") : step.conn !== null ? el("span.soft", {}, "#" + step.conn) : null;
  return el("div.packet", {
    id: "row-" + step.packet, role: "option", "aria-selected": String(step.at === current), "aria-posinset": row + 1, "aria-setsize": shown.length,
    style: `top:${row * ROW}px;${step.conn === null || isSecret ? "" : `border-left-color:hsl(${(step.conn * 137) % 360} 60% 50%)`}`,
    onclick: () => { go(step.at); if (phone.matches) closeDrawer(); },
  },
  el("div.top", {}, el("b", {}, step.packet), el("span.kind", {}, `${step.protocol} ${step.kind}`), el("span.soft", {}, step.interface), badge),
  el("div.ends.mono.soft", {}, step.ends));
}

function keepInSight() {
  $("spacer").style.height = shown.length * ROW + "px";
  const row = shown.indexOf(current), line = $("line");
  if (row < 0) return;
  const top = row * ROW;
  if (top < line.scrollTop) line.scrollTop = top - ROW;
  else if (top + ROW > line.scrollTop + line.clientHeight) line.scrollTop = top - line.clientHeight + 2 * ROW;
}

function search() {
  const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  shown = lesson.steps.filter((step) => finds(step, words)).map((step) => step.at);
  $("found").textContent = words.length ? `${many(shown.length, "packet")} of ${lesson.steps.length.toLocaleString("en")}` : "";
  keepInSight();
  drawLine();
}

function closeDrawer() {
  $("drawer").setAttribute("aria-expanded", "false");
  document.querySelector("nav").classList.remove("open");
}

// A step.

function go(at, isKept) {
  if (at < 0 || at >= lesson.steps.length) return;
  const isNew = at !== current;
  current = at;
  if (isNew) isRevealed = !isPredicting || answered.has(at);
  const step = lesson.steps[at];
  const address = "#packet-" + step.packet;
  if (!isKept && location.hash !== address) history.replaceState(null, "", address);
  draw();
  keepInSight();
  drawLine();
  if (isNew) $("step").scrollTop = 0;
  if (isNew && phone.matches) document.querySelector(".columns").scrollTop = 0;
}

function draw() {
  const step = lesson.steps[current];
  const { told, bytes } = lesson.story(current);
  const [before, after] = lesson.tables(current);
  const asked = isPredicting ? questions(told) : [];
  const isOpen = isRevealed || !asked.length;
  const way = mainWay(told);
  const title = el("div.title", {},
    el("h2", {}, `Packet ${step.packet}`, ": ", `${step.protocol} ${step.kind}`),
    isOpen ? [el("span.badge." + (step.info === "invalid" ? "invalid" : step.verdict), {}, step.info === "invalid" ? `INVALID, ${step.verdict}` : { left_out: "left out", drop: "dropped", delivered: "to the router" }[step.verdict] || step.verdict),
      way && way.direction ? el("span.badge." + way.direction, {}, `${way.direction} direction`) : null] : null,
    el("span.note", {}, `+${step.time.toFixed(6)} s${step.interface ? ", " + step.interface : ""} · `, el("code", {}, step.ends), " · ", el("a", { href: "#packet-" + step.packet }, "link to this step")));
  const cards = isOpen
    ? [asked.length ? quizCard(told, asked) : null, wordsCard(lesson, told), passageCard(told), tuplesCard(told, before), tableCard(told, before, after, true), stateCard(told), windowCard(lesson, told),
      numbersCard(lesson, told), bytesCard(told, bytes), rulesCard(lesson, told, false)]
    : [quizCard(told, asked), arrivalCard(told), rulesCard(lesson, null, true), tableCard(told, before, after, false)];
  const open = [...document.querySelectorAll("main details[open] > summary")].map((s) => s.textContent);
  $("step").replaceChildren(el("div.sheet", {}, title, cards));
  for (const summary of document.querySelectorAll("main details > summary")) if (open.includes(summary.textContent)) summary.parentElement.open = true;
  const same = (s) => step.conn !== null && s.conn === step.conn;
  const set = (id, isDisabled) => { $(id).disabled = isDisabled; };
  set("first", current === 0); set("before", current === 0);
  set("last", current === lesson.steps.length - 1); set("after", current === lesson.steps.length - 1);
  set("same-before", !isOpen || lesson.next(current, -1, same) < 0); set("same-after", !isOpen || lesson.next(current, 1, same) < 0);
  $("where").textContent = `${(current + 1).toLocaleString("en")} / ${lesson.steps.length.toLocaleString("en")}`;
  $("say").textContent = `Packet ${step.packet}. ` + (isOpen ? told.words.join(" ") : "What will the router do with it?");
  document.body.dataset.packet = step.packet;
}

// Predict, then reveal.

function quizCard(told, asked) {
  let number = 0;
  const given = answered.get(current) || {};
  const sets = asked.map((q) => el("fieldset", {}, el("legend", {}, q.ask), q.answers.map(([key, text]) => {
    number += 1;
    const input = el("input", { type: "radio", name: q.name, value: key, "data-key": number });
    input.checked = given[q.name] === key;
    input.disabled = isRevealed;
    const mark = isRevealed && key === q.right ? "right" : isRevealed && given[q.name] === key ? "wrong" : "";
    return el("label" + (mark ? "." + mark : ""), {}, input, el("span", {}, text, mark === "right" ? " ✓" : mark === "wrong" ? " ✗" : ""), isRevealed || number > 9 ? null : el("kbd", {}, number));
  })));
  const hits = asked.filter((q) => given[q.name] === q.right).length;
  return el("section.card.quiz", { "aria-label": "Predict" },
    el("h2", {}, isRevealed ? (Object.keys(given).length ? `You had ${hits} of ${asked.length}` : "The answer") : "What will the router do with it?"), sets,
    isRevealed ? null : el("button.reveal", { type: "button", onclick: reveal }, "Reveal (space)"));
}

function reveal() {
  const asked = questions(lesson.story(current).told);
  const given = {};
  for (const input of document.querySelectorAll(".quiz input:checked")) given[input.name] = input.value;
  answered.set(current, given);
  isRevealed = true;
  score();
  go(current);
  const heading = document.querySelector(".quiz h2");
  if (heading && asked.length) { heading.tabIndex = -1; heading.focus({ preventScroll: true }); }
}

function score() {
  let right = 0, all = 0;
  for (const [at, given] of answered) {
    if (!Object.keys(given).length) continue;
    for (const q of questions(lesson.story(at).told)) { all += 1; right += given[q.name] === q.right; }
  }
  $("score").textContent = isPredicting && all ? `${right} of ${all} right` : "";
}

function predict() {
  isPredicting = !isPredicting;
  isRevealed = !isPredicting || answered.has(current);
  $("predict").setAttribute("aria-pressed", String(isPredicting));
  score();
  go(current);
}

// Light and dark: as the system has it, or as chosen.

const THEMES = ["", "light", "dark"];
function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  $("theme").textContent = { "": "Auto", light: "Light", dark: "Dark" }[name];
  try { localStorage.setItem("uct-theme", name); } catch (_) { /* from disk there may be no storage */ }
}
function nextTheme() {
  theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "") + 1) % THEMES.length]);
}

// Keys and buttons.

const sameConn = (by) => {
  const conn = lesson.steps[current].conn;
  if (conn !== null) go(lesson.next(current, by, (s) => s.conn === conn));
};
const forward = () => (isPredicting && !isRevealed && document.querySelector(".quiz") ? reveal() : go(current + 1));
const DO = {
  ArrowRight: () => go(current + 1), j: () => go(current + 1), " ": forward,
  ArrowLeft: () => go(current - 1), k: () => go(current - 1),
  "]": () => sameConn(1), "[": () => sameConn(-1),
  n: () => go(lesson.next(current, 1, (s) => s.odd)), N: () => go(lesson.next(current, -1, (s) => s.odd)),
  Home: () => go(0), End: () => go(lesson.steps.length - 1),
  p: predict, t: nextTheme, "/": () => { if (phone.matches) openDrawer(); $("find").focus(); }, "?": () => $("keys").showModal(),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  const target = event.target;
  if (target.id === "find") {
    if (event.key === "Escape") { target.value = ""; search(); $("line").focus(); }
    if (event.key === "Enter" && shown.length) { go(shown[0]); $("line").focus(); }
    return;
  }
  const isControl = target.closest && target.closest("button, a, summary");
  if (isControl && (event.key === " " || event.key === "Enter")) return;
  if (target.id === "line" && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    const row = shown.indexOf(current) + (event.key === "ArrowDown" ? 1 : -1);
    if (shown[row] !== undefined) go(shown[row]);
    event.preventDefault();
    return;
  }
  if (target.type === "radio" && event.key.startsWith("Arrow")) return;
  if (/^[1-9]$/.test(event.key)) {
    const input = document.querySelector(`.quiz input[data-key="${event.key}"]`);
    if (input && !input.disabled) input.checked = true;
    return;
  }
  const act = DO[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function openDrawer() {
  $("drawer").setAttribute("aria-expanded", "true");
  document.querySelector("nav").classList.add("open");
  keepInSight();
  drawLine();
}

/** The step that the address names. */
function fromAddress() {
  const found = /^#(?:packet-)?(\d+)$/.exec(location.hash);
  return found && lesson.numbers.has(Number(found[1])) ? lesson.numbers.get(Number(found[1])) : null;
}

async function begin() {
  try { theme(localStorage.getItem("uct-theme") || ""); } catch (_) { theme(""); }
  lesson = new Lesson(await lines($("data").textContent));
  $("data").remove();
  $("count").textContent = many(lesson.steps.length, "packet");
  if (!lesson.steps.length) { $("wait").textContent = "No packet was chosen."; return; }
  shown = lesson.steps.map((step) => step.at);
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", () => { const at = fromAddress(); if (at !== null) go(at, true); });
  addEventListener("resize", drawLine);
  $("line").addEventListener("scroll", () => requestAnimationFrame(drawLine), { passive: true });
  $("find").addEventListener("input", search);
  const press = { first: DO.Home, before: DO.k, "same-before": DO["["], "same-after": DO["]"], after: DO.j, last: DO.End, predict, theme: nextTheme, help: DO["?"] };
  for (const [id, act] of Object.entries(press)) $(id).addEventListener("click", act);
  $("drawer").addEventListener("click", () => (document.querySelector("nav").classList.contains("open") ? closeDrawer() : openDrawer()));
  go(fromAddress() ?? 0, true);
  document.body.dataset.ready = "yes";
}

begin().catch((error) => {
  $("wait") && ($("wait").textContent = "The page cannot be shown: " + error.message);
  console.error(error);
});
