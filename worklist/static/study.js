// One study: its clock ticks, and the claim is renewed while this page is open.
import * as clock from "./clock.js";

const RENEW_S = 20;
const article = document.querySelector("article.one");
const csrf = document.querySelector('meta[name="csrf"]').content;

async function renew() {
  try {
    const answer = await fetch(`/api/v1/studies/${encodeURIComponent(article.dataset.study)}/renew`, {
      method: "POST", headers: { "x-vigie-csrf": csrf, "content-type": "application/json" }, body: "{}" });
    if (answer.status === 409) document.getElementById("lease-lost").hidden = false;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // the network: the next try is soon
  }
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.target.closest("input, select")) location.assign("/");
});
if (article.dataset.mine) setInterval(renew, RENEW_S * 1000);
clock.start();
