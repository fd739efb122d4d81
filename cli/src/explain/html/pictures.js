// Pictures: the state diagram with the current state lit, and the window of TCP.

const TCP_STATES = {
  NONE: [51, 40], SYN_SENT: [200, 40], SYN_RECV: [352, 40], ESTABLISHED: [501, 40], SYN_SENT2: [276, 108],
  FIN_WAIT: [501, 124], CLOSE_WAIT: [501, 208], LAST_ACK: [352, 208], TIME_WAIT: [200, 208], CLOSE: [51, 208],
};
const TCP_EDGES = [
  ["NONE", "SYN_SENT", "SYN"], ["SYN_SENT", "SYN_RECV", "SYN/ACK"], ["SYN_RECV", "ESTABLISHED", "ACK"],
  ["SYN_SENT", "SYN_SENT2", ""], ["SYN_SENT2", "SYN_RECV", ""],
  ["ESTABLISHED", "FIN_WAIT", "FIN"], ["FIN_WAIT", "CLOSE_WAIT", "ACK"], ["FIN_WAIT", "LAST_ACK", "FIN"],
  ["CLOSE_WAIT", "LAST_ACK", "FIN"], ["LAST_ACK", "TIME_WAIT", "ACK"], ["TIME_WAIT", "SYN_SENT", "SYN"],
];
const WIDE = 49, HIGH = 15; // half of a state's box

/** Where a line from one box to another begins or ends: at the edge of the box. */
function rim([x, y], [tx, ty]) {
  const dx = tx - x, dy = ty - y;
  const k = Math.min(dx ? WIDE / Math.abs(dx) : Infinity, dy ? HIGH / Math.abs(dy) : Infinity);
  return [x + dx * k, y + dy * k];
}

function arrow(from, to, isLit) {
  const [x1, y1] = rim(from, to), [x2, y2] = rim(to, from);
  const angle = Math.atan2(y2 - y1, x2 - x1), lit = isLit ? ".lit" : "";
  const tip = [[0, 0], [-9, -4.5], [-9, 4.5]].map(([a, b]) =>
    [x2 + a * Math.cos(angle) - b * Math.sin(angle), y2 + a * Math.sin(angle) + b * Math.cos(angle)].map((v) => v.toFixed(1)).join(",")).join(" ");
  return [svg("line.edge" + lit, { x1, y1, x2, y2 }), svg("polygon.tip" + lit, { points: tip })];
}

function node(name, [x, y], mark) {
  return svg("g.node" + (mark ? "." + mark : ""), {},
    svg("rect", { x: x - WIDE, y: y - HIGH, width: 2 * WIDE, height: 2 * HIGH, rx: 8 }),
    svg("text", { x, y: y + 4, "text-anchor": "middle" }, name));
}

/** A diagram: states by place, edges with a word, and the way that was just gone. */
function diagram(states, edges, was, is, height, title) {
  const known = edges.some(([a, b]) => a === was && b === is);
  const moved = was && was !== is && states[was] && states[is];
  const drawn = moved && !known ? edges.concat([[was, is, ""]]) : edges;
  // The way that was gone lies on top.
  const sorted = drawn.slice().sort((a, b) => (moved && a[0] === was && a[1] === is) - (moved && b[0] === was && b[1] === is));
  return svg("svg", { viewBox: `0 0 552 ${height}`, role: "img", "aria-label": title },
    sorted.map(([a, b, word]) => {
      const [from, to] = [states[a], states[b]];
      const isLit = moved && a === was && b === is;
      const x = (from[0] + to[0]) / 2, y = (from[1] + to[1]) / 2;
      return [arrow(from, to, isLit), word ? svg("text.small", { x: from[0] === to[0] ? x - 8 : x, y: from[1] === to[1] ? y - 8 : y - 6, "text-anchor": from[0] === to[0] ? "end" : "middle" }, word) : null];
    }),
    states.CLOSE ? svg("text.small", { x: states.CLOSE[0], y: states.CLOSE[1] - 24, "text-anchor": "middle" }, "RST ↓") : null,
    Object.entries(states).map(([name, at]) => node(name, at, name === is ? "lit" : name === was ? "was" : "")));
}

/** What TCP's connection went through with this packet; or what an answer makes of the others. */
function stateCard(told) {
  const way = mainWay(told);
  const tried = each(way, "transition");
  const last = tried[tried.length - 1];
  const conn = way && way.connection;
  const protocol = conn ? conn.original.protocol : way && way.came && way.came.protocol;
  if (protocol === "tcp" && (last || (conn && conn.state))) {
    const is = (conn && conn.state) || last.state;
    const was = last ? last.state : is;
    const text = !last ? `State ${is}.` : last.outcome === "invalid" ? `In ${was}, ${last.segment} in ${last.direction} direction is INVALID: ${last.why}.`
      : way.info === "invalid" ? `${was} stays: a packet that is INVALID changes nothing.` : was === is ? `${is} stays: ${last.why}.` : `${was} → ${is}: ${last.why}.`;
    return el("section.card.half", { "aria-label": "State" }, el("h2", {}, "The state of the connection"),
      diagram(TCP_STATES, TCP_EDGES, was, is, 236, text), el("p.after", {}, text),
      el("p.note", {}, "A RST leads to CLOSE from everywhere. Linux names states as the tracker sees them: they are not the endpoints’ own."));
  }
  if (!conn || conn.state) {
    return conn && conn.state ? el("section.card.half", {}, el("h2", {}, "The state of the connection"), el("p", {}, `${conn.original.protocol}: ${conn.state}`)) : null;
  }
  const stage = (c) => (c.status.includes("ASSURED") ? "stream" : c.status.includes("SEEN_REPLY") ? "answered" : "unanswered");
  const streams = conn.original.protocol.startsWith("udp") || conn.original.protocol === "gre";
  const states = streams ? { unanswered: [80, 40], answered: [270, 40], stream: [470, 40] } : { unanswered: [150, 40], answered: [390, 40] };
  const edges = streams ? [["unanswered", "answered", "answer"], ["answered", "stream", "> 2 s"]] : [["unanswered", "answered", "answer"]];
  const is = streams || stage(conn) !== "stream" ? stage(conn) : "answered";
  const text = { unanswered: "No answer was seen yet.", answered: "An answer was seen.", stream: "Packets went both ways for more than two seconds: it is a stream now, and lives longer." }[is];
  return el("section.card.half", { "aria-label": "State" }, el("h2", {}, "The state of the connection"),
    diagram(states, edges, is, is, 80, text), el("p.after", {}, text + ` ${duration(conn.timeout)} to live.`),
    el("p.note", {}, `${protocolName(conn.original.protocol)} itself has no states; the tracker only tells whether there was an answer.`));
}

/** One ruler: what is allowed between two bounds, and where the segment lies. All numbers are distances from the lower bound. */
function ruler(y, title, low, high, from, to, holds, lowName, highName) {
  const size = Math.max(high, 1), least = Math.min(0, from), most = Math.max(size, to);
  const pad = Math.max((most - least) * 0.06, 1);
  const x = (v) => 20 + ((v - least + pad) / (most - least + 2 * pad)) * 500;
  const name = (v) => (v < 0 ? "−" : "+") + Math.abs(v).toLocaleString("en");
  const wide = Math.max(x(to) - x(from), 3);
  const middle = x(from) + wide / 2;
  const side = middle > 400 ? "end" : middle < 140 ? "start" : "middle";
  // Where there is no room for both names below, the upper one stands beside.
  const isNarrow = x(size) - x(0) < 230;
  const isLeft = isNarrow && x(size) > 300;
  return [
    svg("text", { x: 20, y: y - 26, "font-weight": 600 }, title),
    svg("text." + (holds ? "ok" : "fails"), { x: 520, y: y - 26, "text-anchor": "end" }, holds ? "inside" : "outside"),
    svg("line.axis", { x1: 20, x2: 520, y1: y, y2: y }),
    svg("rect.allowed", { x: x(0), y: y - 9, width: Math.max(x(size) - x(0), 2), height: 18, rx: 3 }),
    svg("rect.segment" + (holds ? "" : ".bad"), { x: x(from), y: y - 13, width: wide, height: 26, rx: 2 }),
    isNarrow
      ? svg("text.small", { x: isLeft ? x(size) : x(0), y: y + 28, "text-anchor": isLeft ? "end" : "start" }, `${lowName} 0, ${highName} ${name(high)}`)
      : [svg("text.small", { x: x(0), y: y + 28 }, `${lowName} 0`), svg("text.small", { x: x(size), y: y + 28, "text-anchor": "end" }, `${highName} ${name(high)}`)],
    svg("text.small", { x: side === "end" ? 520 : side === "start" ? 20 : middle, y: y + 44, "text-anchor": side }, from === to ? `here: ${name(from)}` : `this segment: ${name(from)} to ${name(to)}`),
  ];
}

function windowCard(lesson, told) {
  const way = mainWay(told);
  const win = one(way, "window");
  if (!win || !win.tests || win.tests.length < 4) return null;
  const head = el("h2", {}, "The window");
  if (win.receiver_unseen && way.info !== "invalid") {
    return el("section.card.half", { "aria-label": "The window" }, head, el("p", {}, "Nothing was seen of the receiver yet, so there is no window to hold the segment against."));
  }
  const [one_, two, three, four] = win.tests;
  // I: seq ≤ upper bound; II: its end ≥ lower bound.
  const high = distance(two.bound, one_.bound), from = distance(two.bound, one_.value), to = distance(two.bound, two.value);
  const ackHigh = distance(four.bound, three.bound), ack = distance(four.bound, four.value);
  const fails = win.tests.filter((t) => !t.holds);
  const title = fails.length ? `Test ${fails.map((t) => t.test).join(", ")} fails.` : "All four tests hold.";
  const by = (t) => (t.set_by.length ? [" (bound set by ", t.set_by.map((n, i) => [i ? ", " : "", toPacket(lesson, n)]), ")"] : null);
  return el("section.card.half", { "aria-label": "The window" }, head,
    svg("svg", { viewBox: "0 0 540 200", role: "img", "aria-label": title },
      ruler(50, "Sequence numbers: may it send this now?", 0, high, from, to, one_.holds && two.holds, "old", "allowed up to"),
      ruler(148, "Acknowledgement: was that ever sent?", 0, ackHigh, ack, ack, three.holds && four.holds, "long overtaken", "sent up to")),
    el("p.after", {}, title, fails.length && way.info !== "invalid" ? " It passes all the same." : "", fails.map((t) => [" It wants ", el("code", {}, t.says), ", and ", el("code", {}, t.value), ` is not ${t.test === "I" || t.test === "III" ? "≤" : "≥"} `, el("code", {}, t.bound), by(t), "."])),
    el("p.note", {}, "Numbers count from the lower bound; TCP’s own go round at 2³²."));
}
