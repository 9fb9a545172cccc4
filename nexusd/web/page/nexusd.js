// Keeps the page live: follows the event stream, fetches the page anew after an event and once a poll, and
// changes only what is different, so that focus, scrolling and opened details stay as they are. Without it the
// page is complete and renews itself.

const AFTER_EVENT_MS = 300; // what happens together is fetched together, and is committed and countable by then
const LAST_LOOK_MS = 1_500; // counts may be a second old when the first look is taken
const RECONNECT_MS = 2_000;
const PROBE_AFTER_MS = 5_000; // of silence: the stream sends a heartbeat every 4 s
const LOST_AFTER_MS = 8_000; // of silence: a connection may end without a FIN or a reset
const HIDDEN_EVERY_MS = 5_000; // a tab in the background is renewed for its title only
const ANSWER_WITHIN_MS = 10_000;
const HALF_A_DAY_MS = 43_200_000;

const root = document.documentElement;
let mark = null; // the ETag of what is shown
let ahead = 0; // how much later the daemon's clock is than this one, ms
let busy = false;
let wanted = false;
let looked = 0;
let timer = null;
let lastLook = null;
let following = false;
let lost = false;
let heardAt = performance.now(); // when the daemon last sent anything
let currentAt = null; // when the shown data was last confirmed, by the daemon's clock

// Times

function duration(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit}`;
  }
  return `${Math.round(Math.max(0, seconds))} s`;
}

const SAYS = {
  ago: (passed) => `${duration(passed)} ago`,
  age: (passed) => duration(passed),
  until: (passed) => `in ${duration(-passed)}`,
};

function tellTimes() {
  const now = Date.now() + ahead;
  for (const time of document.querySelectorAll("time[data-says]")) {
    const text = SAYS[time.dataset.says]((now - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}

function setClock() {
  ahead = Date.parse(root.dataset.now) - Date.now();
}

// Changing the page into what was fetched

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key || node.id || null : null);

function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if ("own" in old.dataset) return;
  setAttributes(old, fresh);
  const keyed = new Map();
  for (const child of old.children) if (keyOf(child)) keyed.set(keyOf(child), child);
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const match = counterpart(child, at, keyed);
    if (match === null) {
      old.insertBefore(document.importNode(child, true), at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else old.insertBefore(match, at);
    morph(match, child);
  }
  while (at !== null) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function counterpart(child, at, keyed) {
  const key = keyOf(child);
  if (key !== null) {
    const match = keyed.get(key);
    if (match === undefined || match.nodeName !== child.nodeName) return null;
    keyed.delete(key);
    return match;
  }
  return at !== null && keyOf(at) === null && at.nodeName === child.nodeName ? at : null;
}

function setAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !isTheReaders(old, name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value && !isTheReaders(old, name)) old.setAttribute(name, value);
  }
}

function isTheReaders(node, name) {
  return node.nodeName === "DETAILS" && name === "open";
}

function show(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  if (!fresh.documentElement.dataset.now) throw new Error("not a page of nexusd, but of a proxy");
  const focused = document.activeElement;
  root.dataset.now = fresh.documentElement.dataset.now;
  root.dataset.refreshS = fresh.documentElement.dataset.refreshS;
  if (document.title !== fresh.title) document.title = fresh.title;
  setClock();
  morph(document.body, fresh.body);
  tellTimes();
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
}

// Fetching it

async function renew() {
  wanted = busy;
  if (busy) return;
  busy = true;
  looked = Date.now();
  try {
    const headers = mark === null ? {} : { "If-None-Match": mark };
    const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
    const answer = await fetch(location.href, { headers, signal, cache: "no-store" });
    if (answer.status !== 304) {
      const text = await answer.text();
      if (!answer.headers.get("Content-Type")?.startsWith("text/html")) throw new Error("no page");
      show(text);
      mark = answer.headers.get("ETag");
    }
    heardAt = performance.now();
    currentAt = Date.now() + ahead;
    lost = false;
    say(following ? "live" : "calm");
  } catch (error) {
    if (error.name !== "TimeoutError") lose();
  } finally {
    busy = false;
    if (wanted) renew();
  }
}

function soon() {
  clearTimeout(lastLook);
  lastLook = setTimeout(renew, LAST_LOOK_MS);
  timer ??= setTimeout(() => {
    timer = null;
    if (!document.hidden) renew();
  }, AFTER_EVENT_MS);
}

function everySecond() {
  tellTimes();
  const silentMs = performance.now() - heardAt;
  if (silentMs >= LOST_AFTER_MS) lose();
  if (Date.now() - looked >= renewalMs(silentMs) - 500) renew();
}

function renewalMs(silentMs) {
  if (document.hidden) return HIDDEN_EVERY_MS;
  if (lost || silentMs >= PROBE_AFTER_MS) return RECONNECT_MS;
  return 1000 * Number(root.dataset.refreshS);
}

// Following what happens

async function follow() {
  for (;;) {
    await untilSeen();
    const connection = new AbortController();
    const hiding = () => document.hidden && connection.abort();
    document.addEventListener("visibilitychange", hiding);
    try {
      await read(connection);
    } catch {
      // it ended, or nobody answers: come again
    }
    document.removeEventListener("visibilitychange", hiding);
    following = false;
    if (!document.hidden) renew();
    await new Promise((done) => setTimeout(done, RECONNECT_MS));
  }
}

async function read(connection) {
  let silence = setTimeout(() => connection.abort(), LOST_AFTER_MS);
  const headers = { Accept: "text/event-stream" };
  const answer = await fetch("api/v1/events", { headers, signal: connection.signal, cache: "no-store" });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const reader = answer.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    clearTimeout(silence);
    if (done) return;
    following = true; // and not before: a proxy may keep the stream in a buffer
    heardAt = performance.now();
    silence = setTimeout(() => connection.abort(), LOST_AFTER_MS);
    const isHeartbeat = value.length <= 3 && value[0] === 58;
    if (!isHeartbeat) soon();
  }
}

function untilSeen() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((done) => {
    document.addEventListener("visibilitychange", () => done(renew()), { once: true });
  });
}

// Saying how live it is

const LINK = {
  new: "connecting",
  live: "live",
  calm: "polling (live updates unavailable)",
  lost: "connection lost",
};

function say(state) {
  const link = document.getElementById("link");
  if (link.textContent !== LINK[state]) link.textContent = LINK[state];
  root.dataset.link = state;
}

// Show no old data as current: change headline, title and colours until the page is renewed.
function lose() {
  if (lost) return;
  lost = true;
  mark = null;
  say("lost");
  const text = `Connection to nexusd lost — showing data from ${wallTime(currentAt)}`;
  document.title = `? ${text}`;
  const headline = document.querySelector('[data-key="verdict"] .status');
  if (headline !== null) {
    headline.textContent = text;
    headline.className = "status idle";
  }
  const others = document.querySelector(".verdict .others");
  if (others !== null) others.textContent = "Everything below is from that time. Reconnecting.";
}

function wallTime(ms) {
  const text = new Date(ms).toISOString();
  const from = Date.now() + ahead - ms < HALF_A_DAY_MS ? 11 : 0;
  return `${text.slice(from, 19).replace("T", " ")} UTC`;
}

setClock();
currentAt = Date.now() + ahead;
tellTimes();
say("new");
looked = Date.now();
setInterval(everySecond, 1_000);
follow();
