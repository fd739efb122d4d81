// The cards of a step: words, the packet before and after, the tuples, the table, the numbers, the rules.

const place = (rule) => `${rule.file}:${rule.line}`;
const card = (name, title, ...children) => el(name, {}, title ? el("h2", {}, title) : null, ...children);
const opener = (c) => `connection #${c.id}` + (c.since ? ` (opened by packet ${c.since})` : "");

/** A link to a packet's own step, if it is one. */
function toPacket(lesson, number) {
  return lesson.numbers.has(number) ? el("a", { href: "#packet-" + number }, "packet " + number) : "packet " + number;
}

/** Text in which every "packet 3" leads there. */
function linked(lesson, text) {
  return text.split(/(\bpacket \d+\b)/).map((part) => {
    const found = /^packet (\d+)$/.exec(part);
    return found ? toPacket(lesson, Number(found[1])) : part;
  });
}

function wordsCard(lesson, told) {
  const before = (told.before || []).length;
  const items = told.words.map((sentence, at) => {
    const bad = /^(INVALID|It is dropped|A clash)|: a leak/.test(sentence);
    const nat = /^(The rule at .* changes|As decided|No NAT rule asked)/.test(sentence);
    return el("li" + (at < before ? ".before" : bad ? ".bad" : nat ? ".nat" : ""), {}, linked(lesson, sentence));
  });
  return el("section.card", { "aria-label": "What happens" }, el("ul.words", {}, items));
}

/** A packet's fields; those that differ from the other's are coloured. */
function wire(title, h, other, side) {
  if (!h) return el("div.wire", {}, el("h3", {}, title));
  const rows = [];
  const row = (name, read) => {
    const value = read(h);
    if (value === undefined || value === null || value === "") return;
    const differs = other && read(other) !== undefined && String(read(other)) !== String(value);
    const quiet = name === "TTL" || name === "hop limit";
    rows.push(el("dt", {}, name), el("dd.mono", {}, el(differs && !quiet ? (side === "left" ? "span.changed" : "span.was") : "span", {}, value)));
  };
  row("protocol", (x) => protocolName(x.protocol));
  row("source", (x) => x.src);
  row("source port", (x) => x.sport);
  row("destination", (x) => x.dst);
  row("dest. port", (x) => x.dport);
  row("id", (x) => x.icmp && x.icmp.id);
  row("ICMP type, code", (x) => x.icmp && `${x.icmp.type}, ${x.icmp.code}`);
  row("flags", (x) => x.tcp && x.tcp.flags);
  row("seq", (x) => x.tcp && x.tcp.seq);
  row("ack", (x) => x.tcp && x.tcp.ack);
  row("window", (x) => x.tcp && x.tcp.window);
  row("payload", (x) => x.tcp && x.tcp.payload);
  row("fragment", (x) => x.fragment && `id ${x.fragment.id}, at ${x.fragment.offset}${x.fragment.more ? ", more follow" : ", the last"}`);
  row(h.family === "ipv6" ? "hop limit" : "TTL", (x) => x.ttl);
  row("length", (x) => x.length);
  row("IP checksum", (x) => hex(x.ip_checksum));
  row("checksum", (x) => hex(x.checksum));
  if (h.quoted) {
    row("quotes source", (x) => x.quoted && end(x.quoted.src, x.quoted.sport));
    row("quotes dest.", (x) => x.quoted && end(x.quoted.dst, x.quoted.dport));
    row("quotes id", (x) => x.quoted && x.quoted.id);
  }
  return el("div.wire", {}, el("h3", {}, title), el("dl", {}, rows));
}

/** The stops of a way, in a few words each: [name, what, class]. */
function stops(way) {
  const out = [];
  let said = null;
  for (const s of way.steps) {
    switch (s.step) {
      case "restored": out.push(["capture", "turned back into what the router received"]); break;
      case "held": out.push(["fragments", "it waits for the rest", "warn"]); break;
      case "whole": out.push(["fragments", `the last of ${s.fragments}: it goes on as one`]); break;
      case "lookup": out.push(["lookup", s.found ? `the ${s.direction} tuple of #${s.found.id}` : "nothing", s.found ? "found" : ""]); break;
      case "opened": out.push(["opens", `connection #${s.connection}`]); break;
      case "transition":
        out.push(["state", s.next && s.next !== s.state ? `${s.state} → ${s.next}` : `${s.state}${s.outcome === "to" ? "" : ", " + s.outcome}`, s.outcome === "invalid" ? "bad" : ""]);
        break;
      case "window": if (s.verdict !== "inside" && !s.receiver_unseen) out.push(["window", s.verdict.replace(/_/g, " "), s.verdict === "outside" ? "bad" : "warn"]); break;
      case "invalid": out.push(["tracker", "INVALID", "bad"]); break;
      case "untracked": out.push(["tracker", "untracked"]); break;
      case "chain": out.push([s.hook, s.decision + (s.rule ? ` by ${place(s.rule)}` : " by the policy"), s.decision === "accept" ? "" : "bad"]); break;
      case "mapping": said = s; break;
      case "nat": {
        const changed = s.before.text !== s.after.text;
        const who = said ? `${s.action} (${place(said.rule)})` : "to mend a clash";
        if (changed || s.port === "exhausted" || s.port === "stuck") {
          out.push([`NAT, ${s.end}`, who, changed ? "nat" : "bad"]);
        }
        if (s.taken_by) out.push(["first choice", `taken by #${s.taken_by.id}`, "warn"]);
        said = null;
        break;
      }
      case "rewritten":
        if (s.pinned && s.changes.length) out.push([`NAT, at ${s.hook}`, `as decided for packet ${s.pinned.packet}`, "nat"]);
        break;
      case "routed": out.push(["route", s.to === "forward" ? s.interface : s.to === "local" ? "to the router itself" : s.why || "nowhere", s.to === "none" || s.to === "refused" ? "bad" : ""]); break;
      case "confirmed":
        if (s.outcome === "inserted") out.push(["table", `#${s.connection} stands in it now`, "found"]);
        else if (s.outcome !== "known") out.push(["table", `${s.outcome} with #${s.by ? s.by.id : "?"}`, "warn"]);
        break;
      case "gone": out.push(["table", `#${s.connection.id} leaves it`, "warn"]); break;
      case "dropped": out.push(["dropped", s.reason + (s.rule ? ` (${place(s.rule)})` : ""), "bad"]); break;
      case "delivered": out.push(["delivered", "to the router itself"]); break;
      case "silent": out.push(["its sender", "is not told"]); break;
    }
  }
  return out;
}

function passageCard(told) {
  const parts = told.ways.filter((w) => w.came || w.steps.length).map((way) => {
    const h = whole(way);
    const isCut = way.left.length > 1 || one(way, "whole");
    const [leading, ...rest] = way.left;
    const left = (leading ? [leading] : []).map((l, at) => wire(`left by ${l.interface}${way.left.length > 1 ? `, fragment ${at + 1}` : ""}`, l.header, isCut ? null : h, "left"));
    if (isCut && left.length && way.left[0].header) {
      const names = [ends(h), ends(way.left[0].header)];
      left[0].append(el("p.note", {}, names[0] === names[1] ? "The ends are as they were." : ["The datagram: ", el("span.was.mono", {}, names[0]), " → ", el("span.changed.mono", {}, names[1])]));
    }
    if (rest.length) {
      left.push(el("div.wire", {}, el("h3", {}, many(rest.length, "fragment") + " more"), el("dl", {}, rest.map((l) =>
        [el("dt", {}, `at ${l.header && l.header.fragment ? l.header.fragment.offset : "?"}`), el("dd.mono", {}, l.header ? `${l.header.length} bytes` : "")]))));
    }
    const nothing = told.verdict === "delivered" ? "The router itself has it." : told.verdict === "held" ? "Nothing yet." : "Nothing leaves.";
    const shown = way.left.length && !isCut ? way.left[0].header : null;
    const name = { arrived: `came in by ${way.interface || told.interface || "?"}`, own: "the router itself sent it", answer: "the router answers", frame: "came in" }[way.origin];
    return el("div.passage", {},
      el("div", {}, wire(name, way.came, way.came === h ? shown : null, "came"), way.came !== h ? wire("put together", h, null, "came") : null),
      el("div.router", {}, el("h3", {}, "the router"), el("ol.stops", {}, stops(way).map(([label, what, kindOf]) =>
        el("li" + (kindOf ? "." + kindOf : ""), {}, el("b", {}, label), el("code", {}, what))))),
      el("div", {}, left.length ? left : el("div.wire", {}, el("h3", {}, nothing))));
  });
  return el("section.card", { "aria-label": "The packet before and after" },
    el("h2", {}, "The packet, before and after"),
    parts.map((p, at) => (at ? [el("hr"), p] : p)),
    el("p.note.after", {}, "What was rewritten is ", el("span.was", {}, "red as it came"), " and ", el("span.changed", {}, "green as it left"), ". The TTL goes down by one at every router."));
}

/** Only what came in: for those who predict. */
function arrivalCard(told) {
  const way = mainWay(told);
  return card("section.card.half", "The packet as it came", wire(`in by ${way.interface || told.interface || "the router itself"}`, way.came, null, "came"));
}

/** The two tuples side by side, and what NAT made different. */
function tuplesCard(told, before) {
  const way = mainWay(told);
  const found = one(way, "lookup");
  // An INVALID packet has no connection, but its tuple may stand in the table all the same.
  const refused = way && !way.connection && found && found.found ? before.get(found.found.id) : null;
  const conn = (way && way.connection) || refused;
  if (!conn) return null;
  const { original: o, reply: r } = conn;
  const at = (name) => (found && found.found && found.direction === name ? el("p.here", {}, el("span.badge." + name, {}, way.came && way.came.quoted ? "what it quotes leads here" : "this packet carried it"))
    : one(way, "opened") && name === "original" ? el("p.here", {}, el("span.badge.original", {}, "taken from this packet")) : null);
  const line = (name, address, p, other, otherPort) => el("div.row", {}, el("span", {}, name), el("code", {},
    el(other !== null && address !== other ? "span.changed" : "span", {}, address),
    p === undefined ? null : [" : ", el(otherPort !== null && p !== otherPort ? "span.changed" : "span", {}, p)]));
  const icmp = (t) => (t.type === undefined ? null : el("div.row", {}, el("span", {}, "icmp"), el("code", {}, `type ${t.type} code ${t.code} id `,
    el(t === r && t.id !== o.id ? "span.changed" : "span", {}, t.id))));
  const src = r.dst !== o.src || r.dport !== o.sport || r.id !== o.id;
  const dst = r.src !== o.dst || r.sport !== o.dport;
  const inverse = `${end(o.dst, o.dport)} → ${end(o.src, o.sport)}`;
  const says = [];
  if (src) says.push(`Source NAT: the other side knows ${o.id === undefined ? end(o.src, o.sport) : `${o.src} id ${o.id}`} as ${r.id === undefined ? end(r.dst, r.dport) : `${r.dst} id ${r.id}`}, and answers to that.`);
  if (dst) says.push(`Destination NAT: who asks ${end(o.dst, o.dport)} is answered by ${end(r.src, r.sport)}.`);
  const pins = each(way, "nat").filter((s) => s.rule).map((s) => s.rule).concat(each(way, "rewritten").filter((s) => s.pinned && s.pinned.rule).map((s) => s.pinned.rule));
  return card("section.card", refused ? `Connection #${conn.id}, where its tuple stands, though it is not taken for a part of it` : `Connection #${conn.id} and its two tuples`,
    el("div.tuples", {},
      el("div.tuple.original", {}, el("h3", {}, "Original tuple: what its first packet carried"), line("from", o.src, o.sport, null, null), line("to", o.dst, o.dport, null, null), icmp(o), at("original")),
      el("div.mirror", {}, el("b", { "aria-hidden": "true" }, src || dst ? "≠" : "⇄"), src || dst ? "not each other’s inverse: NAT" : "each other’s inverse: no NAT"),
      el("div.tuple.reply", {}, el("h3", {}, "Reply tuple: what answers carry"), line("from", r.src, r.sport, o.dst, o.dport === undefined ? null : o.dport), line("to", r.dst, r.dport, o.src, o.sport === undefined ? null : o.sport), icmp(r), at("reply"))),
    src || dst ? el("p.after", {}, says.join(" "), " Without NAT, answers would carry ", el("code", {}, inverse), ".", pins.length ? [" Decided by ", el("code", {}, [...new Set(pins.map(place))].join(", ")), "."] : null) : null,
    el("p.note.after", {}, `${protocolName(o.protocol)}${conn.state ? ", state " + conn.state : ""}, ${duration(conn.timeout)} to live${conn.mark ? ", mark " + conn.mark : ""}; ${conn.status.join(", ") || "no status yet"}.`));
}

const SHOWN_CONNECTIONS = 8;

/** The table: every connection stands in it twice. */
function tableCard(told, before, after, isAnswerShown) {
  const way = mainWay(told);
  const own = way && way.connection ? way.connection.id : null;
  const table = isAnswerShown ? after : before;
  const gone = isAnswerShown ? [...before].filter(([id]) => !after.has(id)) : [];
  const look = isAnswerShown ? one(way, "lookup") : null;
  const by = own !== null && table.has(own) && isAnswerShown ? own : null;
  const taken = isAnswerShown ? each(way, "nat").map((s) => s.taken_by && s.taken_by.id) : [];
  const rest = [...table.keys()].filter((id) => id !== by);
  rest.sort((a, b) => taken.includes(b) - taken.includes(a) || b - a);
  const shown = (by === null ? [] : [by]).concat(rest.slice(0, SHOWN_CONNECTIONS));
  const key = (conn, side) => {
    const t = conn[side];
    const isHit = look && look.found && look.found.id === conn.id && look.direction === side;
    const blocks = taken.includes(conn.id) && side === "reply";
    const turned = side === "reply" && (t.src !== conn.original.dst || t.dst !== conn.original.src || t.sport !== conn.original.dport || t.dport !== conn.original.sport || t.id !== conn.original.id);
    return el(`div.key.mono.${side}${isHit ? ".hit" : ""}`, { "data-name": side }, el(turned ? "span.changed" : "span", {}, t.text), isHit ? " ← found" : blocks ? " ← the first choice: taken" : null);
  };
  const entry = (conn, mark) => el(`div.entry${conn.id === by ? ".own" : ""}${mark ? "." + mark : ""}`, { role: "listitem" },
    key(conn, "original"), el("span.arrow", { "aria-hidden": "true" }, "●─▶"),
    el("div.conn", {}, `#${conn.id} ${conn.original.protocol}`, conn.state ? el("div.note", {}, conn.state) : null),
    el("span.arrow", { "aria-hidden": "true" }, "◀─●"), key(conn, "reply"));
  const more = table.size - shown.length;
  return card("section.card", `The table ${isAnswerShown ? "after it" : "before it"}: ${many(table.size, "connection")}, ${many(table.size * 2, "entry").replace("entrys", "entries")}`,
    table.size || gone.length ? el("div.entry.heads", { "aria-hidden": "true" }, el("span", {}, "found by original tuple"), el("span"), el("span", {}, "connection"), el("span"), el("span", {}, "found by reply tuple")) : el("p.note", {}, "It is empty."),
    el("div.table", { role: "list" },
      shown.map((id) => entry(table.get(id), isAnswerShown && !before.has(id) ? "new" : "")),
      gone.slice(0, SHOWN_CONNECTIONS).map(([, conn]) => entry(conn, "gone"))),
    more > 0 ? el("p.note.after", {}, `and ${more.toLocaleString("en")} more`) : null,
    own !== null && isAnswerShown && !after.has(own) && !before.has(own) ? el("p.note.after", {}, `Connection #${own} never entered it.`) : null);
}

/** Every stop with its numbers. */
function numbersCard(lesson, told) {
  const rows = [];
  const row = (label, ...text) => rows.push(el("span.label", {}, label), el("span.mono", {}, ...text));
  const ref = (c) => `#${c.id}` + (c.since ? ` (packet ${c.since})` : "");
  const of = (s) => {
    switch (s.step) {
      case "lookup": return row("lookup", `${s.tuple.protocol} ${s.tuple.text}: `, s.found ? linked(lesson, `the ${s.direction} tuple of ${ref(s.found)}`) : "nothing");
      case "transition": return row("state", `${s.state}${s.next ? " → " + s.next : ", " + s.outcome}: ${s.segment} in ${s.direction} direction: ${s.why}`);
      case "exception": return row("", s.why);
      case "window":
        row("window", s.receiver_unseen ? "nothing was seen of the receiver yet" : s.verdict.replace(/_/g, " "));
        return s.receiver_unseen && !(mainWay(told).info === "invalid") ? null : s.tests.forEach((t) =>
          row("", `${t.test}: ${t.says}: ${t.value} ${t.test === "I" || t.test === "III" ? "≤" : "≥"} ${t.bound} ${t.holds ? "holds" : "FAILS"} by ${Math.abs(distance(t.value, t.bound))}`,
            t.set_by.length ? [" (set by ", t.set_by.map((n, i) => [i ? ", " : "", toPacket(lesson, n)]), ")"] : null));
      case "ends": return ["original", "reply"].forEach((side) => {
        const e = s[side];
        row(side === "original" ? "ends" : "", `${side}: end ${e.end}, maxend ${e.max_end}, maxwin ${e.max_win}${e.max_ack === null ? "" : ", maxack " + e.max_ack}, scale ${e.scale} ${e.flags.join(",")}`);
      });
      case "ceiling": return row("timeout", `not its own ${duration(s.own)}: ${s.why}`);
      case "timeout": return row("timeout", duration(s.seconds) + (s.setting ? ` (${s.setting})` : ""));
      case "tracked": return row("tracked", `#${s.connection}, ${s.direction} direction, ct state ${s.info}`);
      case "invalid": return row("invalid", `${s.why} (${s.reason})` + (s.remedy ? `; with ${s.remedy.setting}=${s.remedy.value} it would have been taken` : ""));
      case "rule": return row("rule", `${place(s.rule)} matched: ${s.rule.text}`);
      case "log": return row("log", `${place(s.rule)}: ${s.prefix}`);
      case "chain": return row(s.hook, `${s.decision}${s.rule ? ` by ${place(s.rule)} ${s.rule.text}` : " by its policy"} (chain ${s.chain})`);
      case "nat":
        row("NAT", `${s.end}: ${s.rule ? `${s.action} (${place(s.rule)})` : "no rule asks for a translation"}; ${s.before.text} becomes ${s.after.text}; address ${s.address.replace(/_/g, " ")}, port ${s.port}`);
        if (s.taken_by) row("", linked(lesson, `the first choice’s reply tuple is taken by ${ref(s.taken_by)}`));
        if (s.reused) row("", linked(lesson, `the mapping of ${ref(s.reused)} is used again`));
        if (s.search) row("", `searched ${s.search.first}-${s.search.last}, ${s.search.start}${s.search.start === "lowest" ? "" : " offset " + s.search.offset}, ${many(s.search.tries, "try").replace("trys", "tries")}`);
        return s.reply ? row("", `reply tuple ${s.reply.text}`) : null;
      case "rewritten": return row("rewritten", `at ${s.hook}: ` + s.changes.map((c) => `${c.field} ${c.old} → ${c.new}`).join(", "));
      case "routed": return row("route", s.to === "forward" ? `${s.interface}, next hop ${s.next_hop}` : `${s.to}${s.why ? ": " + s.why : ""}`);
      case "confirmed": return s.outcome === "known" ? null : row("table", `#${s.connection} ${s.outcome}${s.by ? " with " + ref(s.by) : ""}`);
      case "gone": return row("gone", linked(lesson, `#${s.connection.id} ${s.original.protocol} ${s.original.text} at +${s.time.toFixed(6)} s: ${s.why}`));
      case "dropped": return row("dropped", `${s.why} (${s.reason})${s.rule ? ` ${place(s.rule)} ${s.rule.text}` : ""}`);
      case "silent": return row("silent", s.why);
      case "held": case "whole": case "opened": case "untracked": case "delivered": case "restored": case "incomplete": return row(s.step, s.fragments ? many(s.fragments, "fragment") : "");
    }
  };
  (told.before || []).forEach(of);
  steps(told).forEach(of);
  return el("details.card", {}, el("summary", {}, "Every stop, with its numbers"), el("div.numbers", {}, rows));
}

/** The first bytes before and after, those that changed coloured. */
function bytesCard(told, bytes) {
  const at = told.ways.indexOf(mainWay(told));
  const of = bytes[at];
  if (!of || !of.came) return null;
  const pair = (text) => text.match(/../g) || [];
  const came = pair(of.came), left = of.left.length === 1 ? pair(of.left[0]) : null;
  const dump = (mine, other, mark) => {
    const rows = [];
    for (let from = 0; from < mine.length; from += 16) {
      rows.push(from.toString(16).padStart(4, "0") + "  ");
      mine.slice(from, from + 16).forEach((b, i) => rows.push(other && other[from + i] !== b ? el("span." + mark, {}, b) : b, i === 7 ? "  " : " "));
      rows.push("\n");
    }
    return el("pre.mono", { tabindex: "0" }, rows);
  };
  return el("details.card", {}, el("summary", {}, "Its first bytes, from the IP header on"),
    el("div.hex", {}, el("div", {}, el("h3", {}, "as it came"), dump(came, left, "was")), left ? el("div", {}, el("h3", {}, "as it left"), dump(left, came, "changed")) : null));
}

/** The rules; those that matched this packet, or had decided about its connection, are lit. */
function rulesCard(lesson, told, isOpen) {
  if (!lesson.rules.length) return null;
  const hit = told ? rulesIn(told) : [];
  const items = [];
  let chain = null;
  for (const rule of lesson.rules) {
    const name = `${rule.chain} (${rule.file})`;
    if (name !== chain) items.push(el("li.chain", {}, (chain = name)));
    const isHit = hit.some((r) => sameRule(r, rule));
    items.push(el("li" + (isHit ? ".hit" : ""), {}, el("code", {}, `${rule.line}: ${rule.text}`), isHit ? el("span.hidden", {}, " (decided about this packet)") : null));
  }
  return el("details.card" + (isOpen ? ".half" : ""), isOpen ? { open: "" } : {}, el("summary", {}, "The rules"), el("ul.rules", {}, items));
}
