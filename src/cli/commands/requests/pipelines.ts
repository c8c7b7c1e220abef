import { readFileSync } from "node:fs";
import type { Command } from "commander";
import type { WorkflowView } from "../../../api/admin/routes/pipelines/workflows.ts";
import { type PlatformClient, PlatformError } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { print, shortTime } from "../listing.ts";
import { type Connect, JSON_OPTION } from "../options.ts";
import { definitionFaults, parseJsonFile } from "./definition-faults.ts";

interface ListOptions {
  search?: string;
  calls?: string;
  json?: boolean;
}

interface SaveOptions {
  name?: string;
  title?: string;
  public?: boolean;
  private?: boolean;
  json?: boolean;
}

/**
 * Adds `pipelines list|show|create|update|delete`: saved workflows, which are called as
 * `workflows/{owner}/{name}`.
 */
export function addPipelineCommands(program: Command, connect: Connect): void {
  const pipelines = program
    .command("pipelines")
    .description("list and change your saved workflows (docs/workflows.md)");
  addRead(pipelines, connect);
  addSave(pipelines, connect);
  pipelines
    .command("delete")
    .description("remove a workflow; running requests finish")
    .argument("<name>")
    .action(async (name: string, _: object, command: Command) => {
      const client = connect(command);
      await client.admin("DELETE", await pathOf(client, name));
      process.stderr.write("Removed.\n");
    });
}

function addRead(pipelines: Command, connect: Connect): void {
  pipelines
    .command("list")
    .description("list your workflows, newest first")
    .option("--search <text>", "only with this text in the name, the title or the description")
    .option("--calls <endpoint>", "only workflows that call this endpoint")
    .option(...JSON_OPTION)
    .action(async ({ search, calls, json }: ListOptions, command: Command) => {
      const query = new URLSearchParams({
        ...(search && { search }),
        ...(calls && { used_endpoint_ids: calls }),
      });
      const all = await listOf(connect(command), query);
      if (json) return print(all);
      const rows = all.map((each) => [
        endpointOf(each),
        String(each.version),
        each.is_public ? "public" : "",
        shortTime(each.updated_at),
        each.title.slice(0, 40),
      ]);
      process.stdout.write(`${table(["ENDPOINT", "VERSION", "", "CHANGED", "TITLE"], rows)}\n`);
    });
  pipelines
    .command("show")
    .description("show a workflow with its definition, as JSON")
    .argument("<name>", "name of your workflow, or owner/name of another owner's public one")
    .option("--at <version>", "show this version")
    .action(async (name: string, { at }: { at?: string }, command: Command) => {
      const client = connect(command);
      const query = at === undefined ? "" : `?version=${encodeURIComponent(at)}`;
      const path = `${await pathOf(client, name)}${query}`;
      print((await client.admin<{ workflow: unknown }>("GET", path)).workflow);
    });
}

function addSave(pipelines: Command, connect: Connect): void {
  withSaveOptions(
    pipelines.command("create").description("save a workflow; prints the endpoint that calls it"),
  )
    .argument("<file>", "JSON: a definition, or {name, title, contents}; - reads standard input")
    .option("--name <name>", "letters, digits, - and _; default: the definition's own name")
    .action(async (file: string, options: SaveOptions, command: Command) => {
      const body = bodyOf(file, options);
      const name = options.name ?? body.name;
      if (typeof name !== "string") throw new Error(`${file} has no name; give it one with --name.`);
      const filled = { ...body, name, title: options.title ?? body.title ?? name };
      printSaved(await save(file, () => connect(command).admin("POST", "/v1/workflows", filled)), options);
    });
  withSaveOptions(
    pipelines
      .command("update")
      .description("save a new version; running requests keep the version that they started with"),
  )
    .argument("<name>")
    .argument("[file]", "as for create; without a file, only the options' fields change")
    .action(async (name: string, file: string | undefined, options: SaveOptions, command: Command) => {
      const client = connect(command);
      const { name: _other, ...body } = bodyOf(file, options);
      const change = { ...body, ...(options.title !== undefined && { title: options.title }) };
      const path = await pathOf(client, name);
      printSaved(await save(file, () => client.admin("PATCH", path, change)), options);
    });
}

const withSaveOptions = (command: Command): Command =>
  command
    .option("--title <text>", "title for people")
    .option("--public", "let others call the workflow and read it")
    .option("--private", "keep the workflow to yourself")
    .option(...JSON_OPTION);

const endpointOf = ({ user_nickname, name }: Pick<WorkflowView, "user_nickname" | "name">): string =>
  `workflows/${user_nickname}/${name}`;

const listOf = async (client: PlatformClient, query: URLSearchParams): Promise<WorkflowView[]> =>
  (await client.admin<{ workflows: WorkflowView[] }>("GET", `/v1/workflows?${query}`)).workflows;

/** Returns the path of a workflow. A bare name is one of the caller's own, whose owner the platform knows. */
async function pathOf(client: PlatformClient, name: string): Promise<string> {
  const [owner, alias, ...rest] = name.replace(/^workflows\//, "").split("/");
  if (rest.length > 0) throw new Error(`${name} is neither a name nor owner/name.`);
  const path = (...parts: string[]): string => `/v1/workflows/${parts.map(encodeURIComponent).join("/")}`;
  if (owner !== undefined && alias !== undefined) return path(owner, alias);
  const own = (await listOf(client, new URLSearchParams({ search: name }))).find(
    (each) => each.name === name,
  );
  if (!own) throw new Error(`You have no workflow '${name}'; see \`tempera pipelines list\`.`);
  return path(own.user_nickname, own.name);
}

/** Returns the body of a save from a file. A bare definition becomes the body's contents. */
function bodyOf(file: string | undefined, options: SaveOptions): Record<string, unknown> {
  if (options.public && options.private) throw new Error("--public and --private exclude each other.");
  const visibility = options.public ? { is_public: true } : options.private ? { is_public: false } : {};
  if (file === undefined) return visibility;
  const record = readObject(file);
  if (record.contents !== undefined) return { ...record, ...visibility };
  const { name, title } = record;
  return {
    ...(name !== undefined && { name }),
    ...(title !== undefined && { title }),
    contents: record,
    ...visibility,
  };
}

/** Saves a definition. The error of a refused one lists its faults, with the paths of its file. */
async function save<T>(file: string | undefined, send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    if (!(error instanceof PlatformError) || file === undefined || file === "-") throw error;
    const listed = definitionFaults(error.body, file, readObject(file).contents === undefined);
    throw listed === undefined ? error : new PlatformError(listed, error.status, error.body);
  }
}

function readObject(file: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (error) {
    throw new Error(`${file} cannot be read (${(error as Error).message}).`);
  }
  const value = parseJsonFile(text, file);
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Error(`${file} is not a JSON object.`);
  return value as Record<string, unknown>;
}

function printSaved({ workflow }: { workflow: WorkflowView }, { json }: SaveOptions): void {
  if (json) {
    print(workflow);
    return;
  }
  process.stdout.write(`${endpointOf(workflow)}\n`);
  process.stderr.write(`Version ${workflow.version}.\n`);
}
