// Keeps the page live: follows the event stream, fetches the page anew after an event and once a poll, and
// changes only what is different, so that focus, scrolling and opened details stay as they are. Without it the
// page is complete and renews itself.

const AFTER_EVENT_MS = 300; // what happens together is fetched together, and is committed and countable by then
const LAST_LOOK_MS = 1_500; // counts may be a second old when the first look is taken
const RECONNECT_MS = 2_000;
const SILENT_MS = 40_000; // the stream shows a sign of life every 15 s
const HIDDEN_EVERY_MS = 15_000; // a tab in the background is renewed for its title only
const ANSWER_WITHIN_MS = 10_000;

const root = document.documentElement;
let mark = null; // the ETag of what is shown
let ahead = 0; // how much later the daemon's clock is than this one, ms
let busy = false;
let wanted = false;
let looked = 0;
let timer = null;
let lastLook = null;
let following = false;

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
      mark = answer.headers.get("ETag");
      show(text);
    }
    say(following ? "live" : "calm");
  } catch {
    say("lost");
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
  const every = document.hidden ? HIDDEN_EVERY_MS : 1000 * Number(root.dataset.refreshS);
  if (Date.now() - looked >= every - 500) renew();
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
  let silence = setTimeout(() => connection.abort(), SILENT_MS);
  const headers = { Accept: "text/event-stream" };
  const answer = await fetch("api/v1/events", { headers, signal: connection.signal, cache: "no-store" });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  following = true;
  const reader = answer.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    clearTimeout(silence);
    if (done) return;
    silence = setTimeout(() => connection.abort(), SILENT_MS);
    const isSignOfLife = value.length <= 3 && value[0] === 58;
    if (!isSignOfLife) soon();
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
  calm: "renewed now and then",
  lost: "nexusd does not answer",
};

function say(state) {
  const link = document.getElementById("link");
  if (link.textContent !== LINK[state]) link.textContent = LINK[state];
  root.dataset.link = state;
}

setClock();
tellTimes();
say("new");
looked = Date.now();
setInterval(everySecond, 1_000);
follow();
