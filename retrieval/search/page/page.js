// The player and the keys of the page. Gradio calls this once, with `element` and `trigger`; answers come and go in it.
const find = (selector) => element.querySelector(selector);
let chosen = null;

function show(answer) {
  chosen = answer;
  const { number, start, end } = answer.dataset;
  const video = find(".player video");
  find(".player").hidden = false;
  find(".player figure").hidden = true;
  find(".player h2").textContent = answer.querySelector(".name").textContent;
  find(".player .times").textContent = answer.querySelector(".times").textContent;
  find(".player .trouble").textContent = "";
  element.querySelectorAll(".answer").forEach((each) => each.setAttribute("aria-pressed", each === answer));
  video.onloadedmetadata = () => {
    video.currentTime = Number(start);
    video.play().catch(() => {}); // a browser may want a click on the video first
  };
  video.onerror = () => {
    find(".player .trouble").textContent =
      `Your browser cannot play this file, or it has changed since it was indexed: ${answer.title}. ` +
      `Open it in a player at ${find(".player .times").textContent}.`;
  };
  video.src = `media/${number}/video#t=${start},${end}`;
  video.focus();
  find(".player").scrollIntoView({ block: "nearest", behavior: "smooth" });
}

async function showTokens(button) {
  const figure = find(".player figure");
  const name = button.textContent;
  button.disabled = true;
  button.textContent = "Drawing …";
  const answer = await fetch(`media/${chosen.dataset.number}/tokens`);
  button.disabled = false;
  button.textContent = name;
  if (answer.status === 200) {
    figure.querySelector("img").src = URL.createObjectURL(await answer.blob());
    figure.hidden = false;
  } else {
    const said = answer.status === 204 ? "This model's reducer merges nothing." : (await answer.json()).error;
    find(".player .trouble").textContent = said;
  }
}

function close() {
  find(".player video").removeAttribute("src");
  find(".player video").load();
  find(".player").hidden = true;
  chosen.focus();
}

element.addEventListener("click", (event) => {
  const answer = event.target.closest(".answer");
  const button = event.target.closest("[data-do]");
  if (answer) show(answer);
  else if (button?.dataset.do === "more") trigger("more", { number: Number(chosen.dataset.number) });
  else if (button?.dataset.do === "tokens") showTokens(button);
  else if (button?.dataset.do === "close") close();
});

element.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chosen && !find(".player").hidden) close();
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const answers = [...element.querySelectorAll(".answer")];
  const place = answers.indexOf(document.activeElement);
  if (step && place >= 0) answers[place + step]?.focus();
});
