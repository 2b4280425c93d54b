// What makes the pages livelier. Without it, or on an old phone, every page works the same.
"use strict";
(function () {
  // What is shown once is copied by a button, where the browser lets pages do so, or selected whole.
  document.querySelectorAll("[data-copy]").forEach(function (button) {
    const text = document.getElementById(button.dataset.copy);
    const said = button.parentNode.querySelector("[role=status]");
    if (!window.isSecureContext || !navigator.clipboard) {
      text.addEventListener("focus", () => text.select());
      return;
    }
    button.parentNode.hidden = false;
    button.addEventListener("click", async function () {
      try {
        await navigator.clipboard.writeText(text.value);
        said.textContent = "Copied.";
      } catch (error) {
        said.textContent = "The browser does not allow it: copy it by hand.";
        text.select();
      }
    });
  });

  const main = document.querySelector("main");
  if (!main || !window.fetch || !window.EventSource || !window.DOMParser) return;

  // What an amount of a listing costs, while it is typed. The box has the last word.
  const answer = document.querySelector("form[data-unit-price]");
  if (answer) {
    const amount = answer.querySelector("#amount");
    const sum = answer.querySelector("#sum");
    const cost = answer.querySelector('[data-sum="cost"]');
    const item = answer.querySelector('[data-sum="item"]');
    const fee = answer.querySelector('[name="fee"]');
    const notice = answer.querySelector("#fee");
    const propose = answer.querySelector("button");
    const name = item ? item.textContent.replace(/^[0-9.]+ /, "") : "";
    amount.addEventListener("input", function () {
      const minor = minorUnits(amount.value, Number(answer.dataset.decimals));
      fee.value = "0"; // what was agreed to was the fee on another amount
      if (notice) {
        notice.hidden = true;
        propose.textContent = propose.dataset.plain;
      }
      if (!sum) return;
      sum.hidden = minor === null;
      if (minor === null) return;
      const one = BigInt(10) ** BigInt(answer.dataset.decimals);
      const price = BigInt(answer.dataset.unitPrice);
      const up = answer.dataset.side === "offer" ? one - BigInt(1) : BigInt(0);
      const total = (price * minor + up) / one;
      item.textContent = decimal(minor, Number(answer.dataset.decimals)) + " " + name;
      if (price > 0) {
        cost.textContent =
          decimal(total, Number(answer.dataset.priceDecimals)) + " " + answer.dataset.priceAsset;
      }
    });
  }

  // Search while typing: the same page that the button asks for.
  const search = document.querySelector("form.search");
  let asked = 0;
  if (search) {
    const start = debounced(300, function () {
      const fields = [...new FormData(search)].filter((field) => field[1]);
      const query = new URLSearchParams(fields).toString();
      const address = "/market" + (query && "?" + query);
      history.replaceState(null, "", address);
      refresh(address);
    });
    search.addEventListener("input", start);
  }

  // Something has changed: look again. What somebody is about to press or follow stays until they
  // leave it.
  const regions = [...document.querySelectorAll("[data-live]")];
  const wanted = new Set(regions.flatMap((region) => region.dataset.live.split(" ")));
  let events = null;
  let isStale = false;
  const look = debounced(150, function () {
    const main = document.querySelector("main"); // a refused form's answer has the form's address
    refresh(main.dataset.at || location.pathname + location.search);
  });
  function listen() {
    if (events) events.close();
    events = null;
    if (document.hidden) return; // a browser opens few connections to one box, and this keeps one
    events = new EventSource("/events");
    // Something may have happened between the making of the page and now.
    events.addEventListener("open", look, { once: true });
    events.addEventListener("error", function () {
      if (this.readyState === EventSource.CLOSED) setTimeout(listen, 30000); // too many listen
    });
    wanted.forEach((kind) => events.addEventListener(kind, look));
  }
  if (regions.length && document.querySelector("header form")) {
    listen();
    addEventListener("pagehide", () => events && events.close());
    addEventListener("pageshow", (shown) => shown.persisted && listen());
    document.addEventListener("visibilitychange", listen);
    document.addEventListener("focusout", () => isStale && look());
  }

  async function refresh(address) {
    const turn = ++asked;
    let text;
    try {
      const got = await fetch(address, { headers: { Accept: "text/html" } });
      if (!got.ok || got.redirected) return;
      text = await got.text();
    } catch (error) {
      return; // the box is away: what is shown stays, and the next change asks again
    }
    if (turn !== asked) return;
    const fresh = new DOMParser().parseFromString(text, "text/html");
    isStale = false;
    regions.forEach(function (region) {
      const now = fresh.getElementById(region.id);
      if (!now || said(region) === said(now)) return;
      if (region.contains(document.activeElement)) {
        isStale = true;
        return;
      }
      region.querySelectorAll("details[open]").forEach(function (open) {
        const same = fresh.getElementById(open.id);
        if (same) same.open = true;
      });
      region.replaceChildren(...[...now.childNodes].map((node) => document.adoptNode(node)));
    });
  }

  // A region without what differs each time it is made: the ids of its forms, and what is unfolded.
  function said(region) {
    return region.innerHTML.replace(/(name="form" value=")[0-9a-f]*|( open="")/g, "$1");
  }

  function minorUnits(text, decimals) {
    const match = /^([0-9]{1,15})(?:[.]([0-9]+))?$/.exec(text.trim());
    if (!match || (match[2] || "").length > decimals) return null;
    return BigInt(match[1] + (match[2] || "").padEnd(decimals, "0"));
  }

  function decimal(minor, decimals) {
    const digits = minor.toString().padStart(decimals + 1, "0");
    if (!decimals) return digits;
    return digits.slice(0, -decimals) + "." + digits.slice(-decimals);
  }

  function debounced(ms, act) {
    let timer = 0;
    return function () {
      clearTimeout(timer);
      timer = setTimeout(act, ms);
    };
  }
})();
