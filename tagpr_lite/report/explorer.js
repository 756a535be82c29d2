// The explorer of rollouts (explorer.py): shows the group of the chosen stage, step and question.
// All text goes into the page as text, by textContent and createTextNode: nothing of it is ever read as HTML.
"use strict";
(() => {
  const part = name => document.getElementById("rollouts-" + name);
  const data = JSON.parse(part("data").textContent);
  const stage = part("stage"), step = part("step"), group = part("group");

  // Every group in the order of training, as [place of its stage, of its step, of itself].
  const all = [];
  data.stages.forEach((oneStage, s) => oneStage.steps.forEach((oneStep, t) =>
    oneStep.groups.forEach((_, g) => all.push([s, t, g]))));
  let here = all.length - 1;  // the last group, which the page shows without script too

  const groupAt = ([s, t, g]) => data.stages[s].steps[t].groups[g];
  const placeOf = (s, t, g) => all.findIndex(([a, b, c]) => a === s && b === t && c === g);

  // A node is a text, or [element, class, child, child, ...].
  function build(node) {
    if (typeof node === "string") return document.createTextNode(node);
    const [name, style, ...children] = node;
    const element = document.createElement(name);
    if (style) element.className = style;
    for (const child of children) element.appendChild(build(child));
    return element;
  }

  function fill(select, names, chosen) {
    select.replaceChildren(...names.map((name, i) => {
      const option = document.createElement("option");
      option.value = i;
      option.textContent = name;
      return option;
    }));
    select.value = chosen;
  }

  // The same question in other steps, each as a button.
  function again() {
    const question = groupAt(all[here]).question;
    const others = all.map((place, i) => i).filter(i => groupAt(all[i]).question === question);
    const buttons = others.length < 2 ? [] : others.map(i => {
      const [s, t] = all[i];
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = data.stages[s].name + " " + data.stages[s].steps[t].name;
      if (i === here) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => { show(i); part("again").children[others.indexOf(i)].focus(); });
      return button;
    });
    part("again").replaceChildren(...buttons);
    part("again-row").hidden = buttons.length === 0;
  }

  function show(place) {
    here = place;
    const [s, t, g] = all[here];
    const steps = data.stages[s].steps;
    fill(stage, data.stages.map(oneStage => oneStage.name), s);
    step.max = steps.length - 1;
    step.value = t;
    step.disabled = steps.length < 2;
    step.setAttribute("aria-valuetext", "step " + steps[t].name);
    part("step-name").textContent = steps[t].name;
    fill(group, steps[t].groups.map(oneGroup => oneGroup.label), g);
    part("place").textContent = (here + 1) + " of " + all.length;
    part("back").disabled = here === 0;
    part("on").disabled = here === all.length - 1;
    again();

    // A prompt that was unfolded stays unfolded, so that the prompts of several groups can be read in turn.
    const unfolded = part("view").querySelector("details[open]") !== null;
    const shown = groupAt(all[here]);
    const heading = ["h3", "", shown.heading];
    part("view").replaceChildren(build(["div", "", heading, data.questions[shown.question], shown.completions]));
    const fold = part("view").querySelector("details");
    if (fold) fold.open = unfolded;
  }

  // A step that has the question that is shown shows it again; otherwise one of the same task; otherwise its
  // first.
  function go(s, t) {
    const groups = data.stages[s].steps[t].groups;
    const before = groupAt(all[here]);
    let g = groups.findIndex(one => one.question === before.question);
    if (g < 0) g = groups.findIndex(one => one.task === before.task);
    show(placeOf(s, t, Math.max(g, 0)));
  }

  stage.addEventListener("change", () => go(+stage.value, 0));
  step.addEventListener("input", () => go(all[here][0], +step.value));
  group.addEventListener("change", () => show(placeOf(all[here][0], all[here][1], +group.value)));
  part("back").addEventListener("click", () => show(Math.max(here - 1, 0)));
  part("on").addEventListener("click", () => show(Math.min(here + 1, all.length - 1)));

  part("still").hidden = true;
  part("choice").hidden = false;
  show(here);
})();
