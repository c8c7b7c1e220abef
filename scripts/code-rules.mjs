/**
 * Holds the rules for words and shapes that no linter knows (CONTRIBUTING.md, "Rules that a script checks").
 *
 * `node scripts/code-rules.mjs [--only <rule>] [--json] [--root <folder>] [path prefix]` prints each finding
 * as `file:line text` and ends with 1 when a rule is broken. The exceptions, each with its reason, are in
 * `scripts/code-rules.json`.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const OWN = dirname(fileURLToPath(import.meta.url));
const ROOT = readRoot(process.argv);
const SETTINGS = JSON.parse(readFileSync(join(OWN, "code-rules.json"), "utf8"));

const LINE_LENGTH_MAX = 110;
const FUNCTION_LINES_MAX = 70;
const FOLDER_FILES_MAX = 20;
const FIELDS_MAX = 15;
const HEADLESS_SHARE_MAX = 0.03;

const HEADLESS = /^(What|Who|Whose|Whom|Whether|How|Where|Which)\b/;
/** Matches the calls of a test that take a timeout. */
const TIMED_CALL = /^(it|test|describe|(before|after)(All|Each)|poll)$/;
/** Matches the names of objects that a composition hands on. */
const AGGREGATE = /(Dependencies|Parts|Ports|Stores|Services)$/;

/** Every rule: its name, and the function that finds violations. */
const RULES = {
  words: (files) => files.flatMap((file) => [...bannedNames(file), ...bannedTexts(file)]),
  comments: (files) => headlessComments(files),
  functions: (files) => files.filter(isSource).flatMap(longFunctions),
  lines: (files) => files.flatMap(longLines),
  folders: (files) => fullFolders(files),
  aggregates: (files) => files.filter(isSource).flatMap(wideAggregates),
  json: (files) => files.filter(isSource).flatMap(inexactJson),
  timeouts: (files) => files.filter(({ path }) => path.endsWith(".test.ts")).flatMap(ownTimeouts),
};

/** Lists the committed and new text files that the rules apply to. */
function listFiles() {
  const listed = execFileSync("git", ["ls-files", "-co", "--exclude-standard"], {
    cwd: ROOT,
    encoding: "utf8",
    maxBuffer: 64 * 2 ** 20,
  });
  return listed
    .split("\n")
    .filter((file) => /\.(ts|mjs|cjs|js|py|md|sh)$/.test(file) && existsSync(join(ROOT, file)))
    .filter((file) => !Object.hasOwn(SETTINGS.generated, file) && !file.startsWith(".git/"))
    .map((path) => ({ path, text: readFileSync(join(ROOT, path), "utf8") }));
}

const isCode = ({ path }) => /\.(ts|mjs|cjs|js)$/.test(path);
const isTest = ({ path }) => /\.(test|fixture)\.ts$/.test(path) || path.startsWith("tests/");
const isSource = (file) => isCode(file) && !isTest(file);
const syntaxTrees = new Map();
function syntaxTree({ path, text }) {
  const known = syntaxTrees.get(path);
  if (known) return known;
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  syntaxTrees.set(path, tree);
  return tree;
}

function walk(node, visit) {
  visit(node);
  ts.forEachChild(node, (child) => walk(child, visit));
}

const lineOf = (tree, position) => tree.getLineAndCharacterOfPosition(position).line + 1;

/** Splits `createKeyHashes2` and `KEY_HASHES` into `create`, `key`, `hashes`. */
const wordsOf = (name) =>
  name
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .replace(/([A-Z]+)([A-Z][a-z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z]+/);

const remedyOf = (word) => `"${word}" is not a word of this project: ${SETTINGS.words[word]}`;

/** Finds banned words in the names of a file and of what it declares and uses. */
function bannedNames(file) {
  const found = [];
  const own = basename(file.path, extname(file.path));
  for (const word of wordsOf(own)) {
    if (Object.hasOwn(SETTINGS.words, word))
      found.push({ file: file.path, line: 1, text: `file name: ${remedyOf(word)}` });
  }
  if (!isCode(file)) return found;
  const tree = syntaxTree(file);
  walk(tree, (node) => {
    if (!ts.isIdentifier(node) && !ts.isPrivateIdentifier(node) && !isQuotedName(node)) return;
    if (isRecordedName(node.text, file.path)) return;
    for (const word of wordsOf(node.text)) {
      if (!Object.hasOwn(SETTINGS.words, word)) continue;
      found.push({
        file: file.path,
        line: lineOf(tree, node.getStart()),
        text: `${node.text}: ${remedyOf(word)}`,
      });
    }
  });
  return found;
}

/** Tells whether a string is the name of a property: `{ "exit-code": 0 }`. */
const isQuotedName = (node) => ts.isStringLiteral(node) && node.parent.name === node;

/** Tells whether a name is kept because data, recorded histories or a wire format contain it. */
const isRecordedName = (name, path) =>
  Object.hasOwn(SETTINGS.names, name) && SETTINGS.names[name].files.some((file) => path.startsWith(file));

/** Finds words of the old private language in public texts: documentation, comments, messages and titles. */
function bannedTexts(file) {
  if (SETTINGS.textExceptions.some(({ file: exempt }) => file.path.startsWith(exempt))) return [];
  const found = [];
  for (const [index, line] of file.text.split("\n").entries()) {
    for (const [pattern, remedy] of Object.entries(SETTINGS.texts)) {
      const hit = new RegExp(pattern, "i").exec(line);
      if (hit) found.push({ file: file.path, line: index + 1, text: `"${hit[0]}": ${remedy}` });
    }
  }
  return found;
}

/** Finds doc comments that open with a question word instead of a verb or a noun phrase. */
function headlessComments(files) {
  const found = [];
  let comments = 0;
  for (const file of files.filter(isCode)) {
    for (const match of file.text.matchAll(/\/\*\*\s*\n?\s*\*?\s*([\s\S]*?)\*\//g)) {
      comments++;
      const opening = match[1].trim();
      if (!HEADLESS.test(opening)) continue;
      const line = file.text.slice(0, match.index).split("\n").length;
      found.push({ file: file.path, line, text: opening.split("\n")[0].slice(0, 80) });
    }
  }
  const share = comments === 0 ? 0 : found.length / comments;
  const percent = `${(share * 100).toFixed(1)} %, limit ${HEADLESS_SHARE_MAX * 100} %`;
  found.summary = `${found.length} of ${comments} doc comments (${percent})`;
  found.allowed = share <= HEADLESS_SHARE_MAX;
  return found;
}

function longFunctions(file) {
  const tree = syntaxTree(file);
  const found = [];
  walk(tree, (node) => {
    if (!ts.isFunctionLike(node) || !node.body) return;
    const name = node.name?.getText() ?? node.parent?.name?.getText?.() ?? "(anonymous)";
    const start = lineOf(tree, node.getStart());
    const lines = lineOf(tree, node.end) - start + 1;
    if (lines <= FUNCTION_LINES_MAX || Object.hasOwn(SETTINGS.functions, `${file.path}#${name}`)) return;
    found.push({ file: file.path, line: start, text: `${name} has ${lines} lines` });
  });
  return found;
}

/** Finds lines that are too long. Tables, links and generated files are exempt. */
function longLines(file) {
  const found = [];
  for (const [index, line] of file.text.split("\n").entries()) {
    if (
      line.length <= LINE_LENGTH_MAX ||
      /^\s*(\*\s*)?\|/.test(line) ||
      /https?:\/\/\S+|\]\([^)]+\)/.test(line)
    )
      continue;
    if (SETTINGS.lineExceptions.some(({ file: exempt }) => file.path.startsWith(exempt))) continue;
    found.push({ file: file.path, line: index + 1, text: `${line.length} characters` });
  }
  return found;
}

function fullFolders(files) {
  const counts = new Map();
  for (const file of files.filter(isSource)) {
    if (!/^(src|scripts|engines)\//.test(file.path)) continue;
    const folder = dirname(file.path);
    counts.set(folder, (counts.get(folder) ?? 0) + 1);
  }
  return [...counts]
    .filter(([, count]) => count > FOLDER_FILES_MAX)
    .map(([folder, count]) => ({ file: folder, line: 1, text: `${count} files, limit ${FOLDER_FILES_MAX}` }));
}

function wideAggregates(file) {
  const tree = syntaxTree(file);
  const found = [];
  walk(tree, (node) => {
    const members = membersOf(node);
    if (!members || !AGGREGATE.test(node.name.text) || members.length <= FIELDS_MAX) return;
    const text = `${node.name.text} has ${members.length} fields, limit ${FIELDS_MAX}`;
    found.push({ file: file.path, line: lineOf(tree, node.getStart()), text });
  });
  return found;
}

/** Finds calls of JavaScript's own JSON, which rounds large integers, where callers' values may flow. */
function inexactJson(file) {
  if (!/^src\/.*\.ts$/.test(file.path)) return [];
  if (Object.keys(SETTINGS.json).some((exempt) => file.path.startsWith(exempt))) return [];
  const tree = syntaxTree(file);
  const found = [];
  walk(tree, (node) => {
    if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return;
    const { expression: object, name } = node.expression;
    const isOwn = object.getText() === "JSON" && ["parse", "stringify"].includes(name.text);
    if (!isOwn && (name.text !== "json" || node.arguments.length > 0)) return;
    const call = `${object.getText().split("\n")[0]}.${name.text}`;
    const text = `${call} rounds large integers: use parseJson or writeJson`;
    found.push({ file: file.path, line: lineOf(tree, node.getStart()), text });
  });
  return found;
}

/**
 * Finds tests, hooks and polls with a timeout of their own. Timeouts only catch hangs, and stand in
 * `vitest.config.ts` for all.
 */
function ownTimeouts(file) {
  const tree = syntaxTree(file);
  const found = [];
  walk(tree, (node) => {
    if (!ts.isCallExpression(node)) return;
    const name = calledName(node.expression);
    if (!TIMED_CALL.test(name)) return;
    const own = node.arguments
      .slice(1)
      .some(
        (argument) =>
          ts.isNumericLiteral(argument) ||
          (ts.isObjectLiteralExpression(argument) &&
            argument.properties.some((property) => property.name?.getText() === "timeout")),
      );
    if (!own) return;
    const text = `${name} has a timeout of its own: vitest.config.ts has those of all tests`;
    found.push({ file: file.path, line: lineOf(tree, node.getStart()), text });
  });
  return found;
}

/** Returns the name of a called function: "it" of `it`, of `it.skip`, and of `it.each(…)`. */
function calledName(expression) {
  if (ts.isCallExpression(expression)) return calledName(expression.expression);
  if (!ts.isPropertyAccessExpression(expression)) return expression.getText();
  const { expression: object, name } = expression;
  return name.text === "poll" ? name.text : calledName(object);
}

/** Lists the fields that an interface, or a type of literals and other types, declares itself. */
function membersOf(node) {
  if (ts.isInterfaceDeclaration(node)) return node.members;
  if (!ts.isTypeAliasDeclaration(node)) return undefined;
  const parts = ts.isIntersectionTypeNode(node.type) ? node.type.types : [node.type];
  return parts.filter(ts.isTypeLiteralNode).flatMap((part) => [...part.members]);
}

/** Reads the folder to check, a Git work tree: this project, unless `--root` names another. */
function readRoot(argv) {
  const at = argv.indexOf("--root");
  return at > 0 ? argv[at + 1] : join(OWN, "..");
}

function main(args) {
  const only = args.includes("--only") ? args[args.indexOf("--only") + 1] : undefined;
  const prefix =
    args.find((arg, index) => !arg.startsWith("--") && !["--only", "--root"].includes(args[index - 1])) ?? "";
  if (only !== undefined && !Object.hasOwn(RULES, only)) {
    process.stderr.write(`There is no rule "${only}"; the rules are ${Object.keys(RULES).join(", ")}.\n`);
    process.exit(2);
  }
  const files = listFiles().filter(({ path }) => path.startsWith(prefix));
  if (prefix !== "" && files.length === 0) {
    process.stderr.write(`No file that is checked has a path that begins with "${prefix}".\n`);
    process.exit(2);
  }
  const results = Object.entries(RULES)
    .filter(([name]) => only === undefined || name === only)
    .map(([name, rule]) => ({ name, findings: rule(files) }));
  if (args.includes("--json")) {
    const counts = results.map(({ name, findings }) => ({
      name,
      findings: findings.length,
      pass: holds(findings),
    }));
    process.stdout.write(`${JSON.stringify(counts)}\n`);
  } else {
    for (const { name, findings } of results) report(name, findings);
  }
  process.exitCode = results.every(({ findings }) => holds(findings)) ? 0 : 1;
}

const holds = (findings) => findings.allowed ?? findings.length === 0;

function report(name, findings) {
  const ok = holds(findings);
  if (!ok || findings.summary === undefined) {
    for (const { file, line, text } of ok ? [] : findings) process.stdout.write(`${file}:${line} ${text}\n`);
  }
  process.stdout.write(
    `${ok ? "holds" : "BROKEN"}: ${name}, ${findings.summary ?? `${findings.length} findings`}\n`,
  );
}

// A reader that has seen enough (`| head`) is no error.
process.stdout.on("error", (error) => {
  if (error.code !== "EPIPE") throw error;
});
main(process.argv.slice(2));
