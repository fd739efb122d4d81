// Small tools: elements made of text (never of markup), and the data.

const $ = (id) => document.getElementById(id);

/** An element: `el("p.note", {title: "x"}, "text", el("b", {}, "more"))`. Children that are null are left out. */
function el(name, attributes, ...children) {
  const [tag, ...classes] = name.split(".");
  return fill(document.createElement(tag), classes, attributes, children);
}

/** The same for a picture. */
function svg(name, attributes, ...children) {
  const [tag, ...classes] = name.split(".");
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), classes, attributes, children);
}

function fill(element, classes, attributes, children) {
  for (const one of classes.filter(Boolean)) element.classList.add(one);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "onclick") element.addEventListener("click", value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** The lines of the data: base64 of gzip of JSON. */
async function lines(text) {
  const letters = atob(text.trim());
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at++) bytes[at] = letters.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const all = await new Response(stream).text();
  return all.split("\n").filter(Boolean);
}

const port = (p) => (p === undefined || p === null ? "" : ":" + p);
const end = (address, p) => (String(address).includes(":") && p !== undefined && p !== null ? `[${address}]${port(p)}` : address + port(p));
const hex = (n) => (n === undefined || n === null ? null : "0x" + n.toString(16).padStart(4, "0"));
const many = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
/** Sequence numbers go round: the distance from one to another. */
const distance = (from, to) => (to - from) | 0;
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function duration(s) {
  if (s >= 86400) return `${s} s (${Math.round(s / 86400)} days)`;
  if (s >= 7200) return `${s} s (${Math.round(s / 3600)} hours)`;
  return `${s} s`;
}

function kind(h) {
  if (!h) return "no IP packet";
  if (h.fragment && (h.fragment.offset > 0 || h.fragment.more)) return `fragment at ${h.fragment.offset}${h.fragment.more ? "" : ", the last"}`;
  if (h.tcp) return h.tcp.flags + (h.tcp.payload > 0 ? ` with ${h.tcp.payload} bytes` : "");
  if (h.quoted) return "error about another packet";
  if (h.icmp) {
    const echo = { 8: "echo request", 0: "echo reply", 128: "echo request", 129: "echo reply" }[h.icmp.type];
    return (echo || `type ${h.icmp.type} code ${h.icmp.code}`) + (h.icmp.id === undefined ? "" : `, id ${h.icmp.id}`);
  }
  return `${h.length} bytes`;
}

const protocolName = (p) => (/^\d+$/.test(p) ? `protocol ${p}` : p === "icmpv6" ? "ICMPv6" : p.toUpperCase());
const ends = (h) => (h ? `${end(h.src, h.sport)} → ${end(h.dst, h.dport)}` : "");
