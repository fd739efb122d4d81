// The lesson: packets in order, the table at every step, questions. Knows nothing of how it is shown.

class Lesson {
  /** Of the data's lines. Each is read once for the index; the whole story of a packet is read again when it is shown. */
  constructor(all) {
    this.about = JSON.parse(all[0]);
    this.rules = this.about.rules.slice();
    this.steps = []; // the packets that are shown
    this.numbers = new Map(); // by their number in the capture
    this.moves = []; // what each line did to the table
    this.marks = []; // the table now and then: [line, table before it]
    this.raw = all;
    const table = new Map();
    for (let at = 1; at < all.length; at++) {
      const line = JSON.parse(all[at]);
      if ((at - 1) % 256 === 0) this.marks.push([at, new Map(table)]);
      this.moves[at] = movesOf(line.told);
      for (const [id, conn] of this.moves[at]) conn ? table.set(id, conn) : table.delete(id);
      if (line.shown) {
        const step = indexOf(line.told);
        step.line = at;
        step.at = this.steps.length;
        this.numbers.set(step.packet, step.at);
        this.steps.push(step);
      }
      for (const rule of rulesIn(line.told)) {
        if (!this.rules.some((r) => sameRule(r, rule))) this.rules.push(rule);
      }
    }
  }

  story(at) {
    return JSON.parse(this.raw[this.steps[at].line]);
  }

  /** The table before a line. */
  before(line) {
    let [from, table] = this.marks[Math.floor((line - 1) / 256)] || [1, new Map()];
    table = new Map(table);
    for (; from < line; from++) for (const [id, conn] of this.moves[from]) conn ? table.set(id, conn) : table.delete(id);
    return table;
  }

  /** The table before and after a step. */
  tables(at) {
    const line = this.steps[at].line;
    return [this.before(line), this.before(line + 1)];
  }

  /** The next step from `at` in direction `by` that `is`. */
  next(at, by, is) {
    for (let i = at + by; i >= 0 && i < this.steps.length; i += by) if (is(this.steps[i])) return i;
    return -1;
  }
}

const sameRule = (a, b) => a.file === b.file && a.line === b.line && a.column === b.column;
const mainWay = (told) => told.ways.find((w) => w.origin !== "answer") || told.ways[0];
const steps = (told) => told.ways.flatMap((w) => w.steps);
/** The packet that went on: put together, if it came in fragments. */
const whole = (way) => { const s = way && way.steps.find((x) => x.step === "whole"); return s ? s.header : way && way.came; };
const one = (way, name) => way && way.steps.find((s) => s.step === name);
const each = (way, name) => (way ? way.steps.filter((s) => s.step === name) : []);

function rulesIn(told) {
  return steps(told).flatMap((s) => [s.rule, s.pinned && s.pinned.rule]).filter(Boolean);
}

/** What a packet does to the table: pairs of number and connection, or null if it goes. */
function movesOf(told) {
  const moves = (told.before || []).filter((s) => s.step === "gone").map((s) => [s.connection.id, null]);
  for (const way of told.ways) {
    const conn = way.connection;
    const stays = conn && !each(way, "confirmed").some((s) => s.outcome === "merged" || s.outcome === "clash");
    const stands = stays && (conn.status.includes("CONFIRMED") || each(way, "confirmed").length > 0);
    for (const s of way.steps) {
      if (s.step === "gone" && (!conn || s.connection.id !== conn.id)) moves.push([s.connection.id, null]);
    }
    if (stands) moves.push([conn.id, conn]);
    for (const s of way.steps) {
      if (s.step === "gone" && conn && s.connection.id === conn.id) moves.push([conn.id, null]);
    }
  }
  return moves;
}

/** What the timeline shows and finds a packet by. */
function indexOf(told) {
  const way = mainWay(told);
  const h = way && way.came;
  const all = steps(told);
  const nat = all.filter((s) => s.step === "nat");
  const step = {
    packet: told.packet,
    time: told.time,
    interface: told.interface || "",
    verdict: told.verdict,
    protocol: h ? protocolName(h.protocol) : "frame",
    kind: kind(h),
    ends: ends(h),
    conn: way && way.connection ? way.connection.id : null,
    info: way ? way.info : null,
    direction: way ? way.direction : null,
    opens: all.some((s) => s.step === "opened"),
    clash: nat.some((s) => s.taken_by) || all.some((s) => s.step === "confirmed" && s.outcome === "clash"),
  };
  step.odd = step.info === "invalid" || step.verdict === "drop" || step.clash;
  step.text = [
    "#" + step.packet, step.interface, step.protocol, step.kind, step.ends, step.info, step.verdict, step.direction,
    step.conn === null ? "" : "connection#" + step.conn, step.clash ? "clash" : "", step.opens ? "opens" : "",
    way && way.left.length ? ends(way.left[0].header) : "", told.verdict === "drop" ? "dropped" : "",
  ].join(" ").toLowerCase();
  return step;
}

/** Whether a packet has all the words; `#2` is its connection, a number alone its own number. */
function finds(step, words) {
  return words.every((w) => {
    if (/^#\d+$/.test(w)) return step.conn === Number(w.slice(1));
    if (/^\d+$/.test(w)) return String(step.packet) === w || step.text.includes(":" + w);
    return step.text.includes(w);
  });
}

/** What one may be asked before it is told, with what is right. */
function questions(told) {
  const way = mainWay(told);
  if (!way || !way.came || told.verdict === "left_out") return [];
  const asked = [];
  const h = whole(way);
  const answers = [
    ["opened", "Nothing is found, and the packet opens a connection"],
    ["original", "A connection, by its original tuple"],
    ["reply", "A connection, by its reply tuple"],
    ["invalid", "Whatever is found, the packet is INVALID: it belongs to none"],
  ];
  if (h.quoted) answers.splice(3, 0, ["related", "The connection of the packet that it quotes"]);
  const isFragment = !!way.came.fragment;
  if (isFragment) answers.push(["held", "Nothing yet: it is a fragment, and waits"]);
  let right = one(way, "opened") ? "opened" : way.direction;
  if (way.info === "related" && h.quoted) right = "related";
  if (way.info === "invalid") right = "invalid";
  if (way.info === "untracked") { answers.push(["untracked", "Nothing: it goes untracked"]); right = "untracked"; }
  if (told.verdict === "held") right = "held";
  if (answers.some(([key]) => key === right)) asked.push({ name: "found", ask: "What does the lookup of its tuple find?", answers, right });
  const left = way.left[0] && way.left[0].header;
  const src = left && (left.src !== h.src || left.sport !== h.sport);
  const dst = left && (left.dst !== h.dst || left.dport !== h.dport);
  const icmp = left && left.icmp && h.icmp && left.icmp.id !== h.icmp.id;
  const fate = told.verdict === "sent" && left
    ? (src || icmp) && dst ? "both" : src || icmp ? "source" : dst ? "destination" : "same"
    : told.verdict;
  asked.push({
    name: "fate",
    ask: "And what becomes of it?",
    answers: [
      ["same", "It leaves as it came"],
      ["source", "It leaves with another source"],
      ["destination", "It leaves with another destination"],
      ["both", "It leaves with both changed"],
      ["delivered", "The router itself gets it"],
      ["drop", "It is dropped"],
    ].concat(isFragment ? [["held", "It is held back"]] : []),
    right: fate,
  });
  return asked;
}
