// The API's documentation, made from /openapi.json: operations, what they take and answer, and a way to try them.

import { call, curl, send } from "./api.js";
import { byId, copy, el } from "./dom.js";

const METHODS = ["get", "post", "put", "patch", "delete"]; // in the order in which they are shown
let schemas; // of the document's components, by name

start();

async function start() {
  try {
    const document = await call("GET", "/openapi.json");
    schemas = document.components.schemas;
    const described = (path, found, method) => ({ path, method: method.toUpperCase(), ...found[method] });
    const operations = Object.entries(document.paths).flatMap(([path, found]) =>
      METHODS.filter((method) => found[method]).map((method) => described(path, found, method)));
    const groups = Map.groupBy(operations, (operation) => operation.tags?.[0] ?? "other");
    byId("reference").append(
      el("p", {}, `${document.info.title} ${document.info.version}. `, ...prose(document.info.description)),
      ...[...groups].flatMap(([name, members]) => [el("h2", {}, name), ...members.map(operation)]));
    if (location.hash) byId(location.hash.slice(1))?.setAttribute("open", "");
  } catch (error) {
    byId("error").textContent = error.message;
    byId("error").hidden = false;
  }
}

function operation(found) {
  const { method, path, operationId, description, parameters = [], requestBody, responses } = found;
  const answers = Object.entries(responses)
    .map(([status, { content }]) => [status, content?.["application/json"]?.schema])
    .filter(([status, schema]) => status.startsWith("2") && schema);
  const box = el("details", { class: "operation", id: operationId },
    el("summary", {},
      el("b", { class: `method ${method.toLowerCase()}` }, method), " ", el("code", {}, path), " ",
      el("span", { class: "quiet" }, ...prose(description))));
  const bodies = Object.entries(requestBody?.content ?? {});
  const fill = () => {
    if (!box.open || box.childElementCount > 1) return;
    box.append(
      attempt(found),
      ...(parameters.length ? [el("h3", {}, "Parameters"), table(parameters.map(parameterRow))] : []),
      ...bodies.flatMap(([type, { schema }]) => [el("h3", {}, `Body: ${type}`), properties(schema)]),
      ...answers.flatMap(([status, schema]) => [el("h3", {}, `Answer: ${status}`), properties(schema)]));
  };
  box.addEventListener("toggle", fill);
  return box;
}

/** The request as a form: parameters, body, the curl command that goes with them, and a button that sends it. */
function attempt({ method, path, parameters = [], requestBody }) {
  const [type, content] = Object.entries(requestBody?.content ?? {})[0] ?? [];
  const examples = content?.examples ?? { example: { summary: "Example", value: content?.example } };
  const shown = ({ value }) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
  const body = el("textarea", { spellcheck: "false", "aria-label": "body", input: () => update() });
  const choice = el("select", { "aria-label": "example", change: () => fill() },
    ...Object.entries(examples).map(([name, { summary }]) => el("option", { value: name }, summary ?? name)));
  const fields = parameters.map((parameter) => ({ ...parameter, input: el("input", {
    value: parameter.in === "path" ? parameter.schema.examples?.[0] ?? "" : "", input: () => update() }) }));
  const command = el("pre", { tabindex: 0, "aria-label": "curl command" });
  const answer = el("pre", { "aria-live": "polite", tabindex: 0, "aria-label": "answer", hidden: true });
  const said = () => (requestBody ? compact(body.value, type) : undefined);
  const values = (place) =>
    fields.filter((field) => field.in === place).map((field) => [field.name, field.input.value]);
  const headers = () => Object.fromEntries(values("header").filter(([, value]) => value));
  const address = () => {
    const query = new URLSearchParams(values("query").filter(([, value]) => value));
    const put = (to, [name, value]) => to.replace(`{${name}}`, encodeURIComponent(value));
    const filled = values("path").reduce(put, path);
    return query.size ? `${filled}?${query}` : filled;
  };
  const update = () => (command.textContent = curl(method, address(), said(), type, headers()));
  const fill = () => {
    if (requestBody) body.value = shown(examples[choice.value]);
    body.rows = Math.min(16, body.value.split("\n").length + 1);
    update();
  };
  const go = async () => {
    if (method === "DELETE" && !confirm(`DELETE ${address()}`)) return;
    answer.hidden = false;
    try {
      const { status, text } = await send(method, address(), { body: said(), type, headers: headers() });
      answer.textContent = `${status}\n${pretty(text)}`;
    } catch (error) {
      answer.textContent = error.message;
    }
  };
  fill();
  const copier = el("button", { type: "button", click: () => copy(command, copier) }, "Copy");
  return el("div", { class: "attempt" },
    ...(fields.length ? [el("div", { class: "settings" }, ...fields.map(labelled))] : []),
    ...(requestBody ? [choice, body] : []),
    command,
    el("div", { class: "buttons" }, el("button", { type: "button", class: "primary", click: go }, "Send"), copier),
    answer);
}

const labelled = ({ name, input }) => el("label", { class: "field" }, el("span", {}, name), input);

function parameterRow({ name, in: place, required, schema, description }) {
  const type = `${kind(schema)}, in the ${place}${required ? "" : ", optional"}`;
  return [name, type, description ?? schema.description ?? "", ""];
}

/** The fields of an object as a table; those of objects inside it one level deeper, on demand. */
function properties(schema) {
  const { properties: fields = {}, required = [], description } = objectOf(schema) ?? {};
  const rows = Object.entries(fields).map(([name, field]) => {
    const inner = objectOf(field);
    const usual = field.default === undefined || inner ? "" : `default ${JSON.stringify(field.default)}`;
    const about = [field.description, usual].filter(Boolean).join("; ");
    const type = kind(field) + (required.includes(name) ? "" : ", optional");
    return [name, type, about, inner ? lazily(name, inner) : ""];
  });
  if (!rows.length) return el("p", { class: "quiet" }, kind(schema));
  return el("div", {}, description ? el("p", { class: "quiet" }, description) : "", table(rows));
}

function lazily(name, schema) {
  const fill = () => box.childElementCount > 1 || box.append(properties(schema));
  const box = el("details", { toggle: fill }, el("summary", {}, `fields of ${name}`));
  return box;
}

function table(rows) {
  const row = ([name, type, about, inner]) =>
    el("tr", {},
      el("th", { scope: "row" }, el("code", {}, name)),
      el("td", {}, el("i", {}, type), ...(about ? [" \u2014 ", ...prose(about)] : []), inner));
  return el("table", { class: "fields" }, el("tbody", {}, ...rows.map(row)));
}

/** The object that a schema is, or holds in a list or as one of several kinds; null where there is none. */
function objectOf(schema) {
  if (!schema) return null;
  if (schema.$ref) return objectOf(schemas[schema.$ref.split("/").at(-1)]);
  if (schema.properties) return schema;
  if (schema.items) return objectOf(schema.items);
  if (schema.additionalProperties?.$ref) return objectOf(schema.additionalProperties);
  return (schema.anyOf ?? []).map(objectOf).find(Boolean) ?? null;
}

/** What stands between backticks is code. */
function prose(text) {
  return text.split("`").map((part, place) => (place % 2 ? el("code", {}, part) : part));
}

function kind(schema) {
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.$ref) return "object";
  if (schema.type === "array") return `list of ${kind(schema.items ?? {})}`;
  return schema.type ?? "any JSON";
}

function compact(text, type) {
  if (type !== "application/json") return text;
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text; // not yet JSON: the server says what is wrong
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
