// node page_stub.js explorer.js data.json: runs the explorer's script in as little of a page as it needs, uses its
// controls, and prints as JSON what was shown.
const fs = require("fs");
const escape = text => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;")
  .replace(/"/g, "&quot;").replace(/'/g, "&#x27;");

class Text {
  constructor(text) { this.text = text; }
  get html() { return escape(this.text); }
  get words() { return this.text; }
}

class Element {
  constructor(name) {
    Object.assign(this, {name, className: "", children: [], listeners: {}, hidden: false, attributes: {}});
  }
  get html() {
    const style = this.className ? ` class="${this.className}"` : "";
    return `<${this.name}${style}>${this.children.map(child => child.html).join("")}</${this.name}>`;
  }
  get words() { return this.children.map(child => child.words).join(""); }
  get textContent() { return this.words; }
  set textContent(text) { this.children = [new Text(String(text))]; }
  appendChild(child) { this.children.push(child); }
  replaceChildren(...children) { this.children = children; }
  setAttribute(name, value) { this.attributes[name] = value; }
  addEventListener(event, act) { this.listeners[event] = act; }
  querySelector(selector) {
    const name = selector.replace("[open]", "");
    for (const child of this.children) {
      const found = child instanceof Element &&
        (child.name === name && (name === selector || child.open) ? child : child.querySelector(selector));
      if (found) return found;
    }
    return null;
  }
  focus() {}
  // What a reader does.
  click() { if (!this.disabled) this.listeners.click(); }
  choose(value, event) { this.value = value; this.listeners[event](); }
}

const parts = {};
global.document = {
  getElementById: id => parts[id] ??= new Element("div"),
  createElement: name => new Element(name),
  createTextNode: text => new Text(text),
};
const part = name => document.getElementById("rollouts-" + name);
part("data").textContent = fs.readFileSync(process.argv[3], "utf8");
const data = JSON.parse(part("data").textContent);
part("choice").hidden = true;
new Function(fs.readFileSync(process.argv[2], "utf8"))();

const heading = () => part("view").querySelector("h3").words;
const shown = {first: part("view").children[0].html, headings: [heading()],
  hidden: [part("still").hidden, part("choice").hidden]};
while (!part("back").disabled) {
  part("back").click();
  shown.headings.push(heading());
}
const task = () => {
  const step = data.stages[part("stage").value].steps[part("step").value];
  return step.groups[part("group").value].task;
};
part("stage").choose("1", "change");
shown.stage = heading();
part("group").choose(String(data.stages[1].steps[0].groups.findIndex(one => one.task === "LaMP_3")), "change");
shown.task_before = task();
part("step").choose("1", "input");
shown.task_after = task();
shown.step = heading();
shown.again = part("again").children.map(button => button.words);
part("again").children[0].click();
shown.jumped = heading();
console.log(JSON.stringify(shown));
