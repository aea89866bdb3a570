// Keeps the page as it is on the server. The page is asked for again whenever the proxy tells of an event, and every few
// seconds for the figures; then only what differs is changed, so that focus, selection and open tables stay.
"use strict";

const EVENTS = ["switched", "drained", "bake", "canary", "breaker", "health", "ejected", "certificate", "mode", "progress", "reloaded"];
const EVERY = 2000; // milliseconds between two looks at the figures
const SAID = 5; // how many events are read out, and kept for it
const PATIENCE = 10000; // milliseconds until a look has failed

const state = document.getElementById("state");
const stateText = document.getElementById("state-text");
const news = document.getElementById("news");

let stream = null;
let asking = null;
let again = false;
let lostAt = null;

function tell(name, text) {
  if (state.dataset.state !== name) state.dataset.state = name;
  if (stateText.textContent !== text) stateText.textContent = text;
}

function lost() {
  lostAt ??= new Date();
  tell("lost", `Disconnected since ${lostAt.toISOString().slice(11, 19)} UTC; trying again`);
}

// Makes `old` the same as `fresh`, and leaves alone what is the same already.
function become(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    // Whether a table is open is the reader's affair.
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    if (child.nodeType !== Node.ELEMENT_NODE && child.nodeType !== Node.TEXT_NODE) continue;
    const match = child.id ? [...old.children].find((one) => one.id === child.id) : at;
    if (match && isSame(match, child)) {
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      become(match, child);
    } else {
      old.insertBefore(document.importNode(child, true), at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function isSame(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && (one.id || "") === (other.id || "");
}

function events() {
  return [...document.querySelectorAll("#event-list > li")];
}

// Says what is new to those who do not see it, oldest first. The list itself is too long to be read out.
function announce(before) {
  const list = events();
  const known = list.findIndex((item) => item.id === before);
  const fresh = (known < 0 ? list : list.slice(0, known)).slice(0, SAID).reverse();
  for (const item of fresh) {
    const line = document.createElement("p");
    line.textContent = item.textContent;
    news.append(line);
  }
  while (news.children.length > SAID) news.firstChild.remove();
}

function show(fresh) {
  const before = events()[0]?.id;
  const process = document.getElementById("foot").dataset.process;
  for (const id of ["main", "foot"]) {
    const part = fresh.getElementById(id);
    if (part) become(document.getElementById(id), part);
  }
  if (document.getElementById("foot").dataset.process !== process) listen();
  announce(before);
  lostAt = null;
  tell("live", "Live");
}

function look() {
  if (asking) {
    again = true;
    return;
  }
  asking = new XMLHttpRequest();
  asking.open("GET", location.pathname);
  asking.responseType = "document"; // parsed by the browser, and never run
  asking.timeout = PATIENCE;
  asking.onload = () => {
    const fresh = asking.status === 200 && asking.response;
    if (fresh && fresh.getElementById("foot")) show(fresh);
    else lost();
  };
  asking.onerror = asking.ontimeout = lost;
  asking.onloadend = () => {
    asking = null;
    if (again) {
      again = false;
      look();
    }
  };
  asking.send();
}

function hang() {
  stream?.close();
  stream = null;
}

function listen() {
  hang();
  stream = new EventSource("/v1/events");
  for (const name of EVENTS) stream.addEventListener(name, look);
  stream.onopen = look;
  stream.onerror = lost;
}

function follow() {
  // A browser opens few connections to one server, so a page that nobody sees holds none.
  if (document.hidden) hang();
  else listen();
}

document.addEventListener("visibilitychange", follow);
setInterval(() => {
  if (document.hidden) return;
  if (stream?.readyState === EventSource.CLOSED) listen();
  look();
}, EVERY);
follow();
