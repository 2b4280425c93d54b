// What makes the pages livelier. Without it, or on an old phone, every page works the same.
"use strict";
(function () {
  const main = document.querySelector("main");
  if (!main || !window.fetch || !window.EventSource || !window.DOMParser) return;

  // What an amount of a listing costs, while it is typed. The box has the last word.
  const answer = document.querySelector("form[data-unit-price]");
  if (answer) {
    const amount = answer.querySelector("#amount");
    const cost = answer.querySelector('[data-sum="cost"]');
    const item = answer.querySelector('[data-sum="item"]');
    const fee = answer.querySelector('[name="fee"]');
    const name = item ? item.textContent.replace(/^[0-9.]+ /, "") : "";
    amount.addEventListener("input", function () {
      const minor = minorUnits(amount.value, Number(answer.dataset.decimals));
      if (fee) fee.value = "0";
      if (minor === null || !cost || !item) return;
      const ten = BigInt(10);
      const one = ten ** BigInt(answer.dataset.decimals);
      const price = BigInt(answer.dataset.unitPrice);
      const total = (price * minor + one - BigInt(1)) / one;
      item.textContent = amount.value.trim() + " " + name;
      if (price > 0) {
        cost.textContent =
          decimal(total, Number(answer.dataset.priceDecimals)) + " " + answer.dataset.priceAsset;
      }
    });
  }

  // Search while typing: the same page that the button asks for.
  const search = document.querySelector("form.search");
  const live = document.getElementById("live");
  let asked = 0;
  if (search && live) {
    const start = debounced(300, function () {
      const query = new URLSearchParams(new FormData(search)).toString();
      const address = "/market?" + query;
      history.replaceState(null, "", address);
      refresh(address);
    });
    search.addEventListener("input", start);
  }

  // Something has changed: look again, unless somebody is filling in a form.
  const kinds = ["trades", "market", "wallet"];
  const shown = document.querySelector("[data-live]");
  const wanted = shown ? shown.dataset.live.split(" ") : [];
  if (wanted.length && document.querySelector("header form")) {
    const events = new EventSource("/events");
    const look = debounced(150, function () {
      refresh(location.pathname + location.search);
    });
    kinds
      .filter((kind) => wanted.includes(kind))
      .forEach((kind) => events.addEventListener(kind, look));
    addEventListener("pagehide", () => events.close());
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
    document.querySelectorAll("[data-live]").forEach(function (old) {
      const now = fresh.getElementById(old.id);
      if (!now || old.innerHTML === now.innerHTML || old.contains(busy())) return;
      old.replaceWith(document.adoptNode(now));
    });
  }

  function busy() {
    const at = document.activeElement;
    return at && at.matches("input, select, textarea, button") ? at : null;
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
