import { readFileSync } from "node:fs";
import type { Command } from "commander";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { print, shortTime } from "../listing.ts";

interface PipelineView {
  name: string;
  title: string;
  user_nickname: string;
  created_at: string;
  updated_at: string;
  is_public: boolean;
  version: number;
  endpoint_ids: string[];
}

interface SaveOptions {
  name?: string;
  title?: string;
  public?: boolean;
  private?: boolean;
  json?: boolean;
}

/**
 * `pipelines list|show|create|update|delete`: workflow definitions that are kept, and called as
 * `workflows/{owner}/{name}`.
 */
export function addPipelineCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const pipelines = program.command("pipelines").description("your saved workflows (docs/workflows.md)");
  pipelines
    .command("list")
    .description("list them, newest first")
    .option("--search <text>", "only those with this in their name, title or description")
    .option("--calls <endpoint>", "only those that call this endpoint")
    .option("--json", "print the answer as JSON")
    .action(
      async (
        { search, calls, json }: { search?: string; calls?: string; json?: boolean },
        command: Command,
      ) => {
        const query = new URLSearchParams({
          ...(search && { search }),
          ...(calls && { used_endpoint_ids: calls }),
        });
        const all = await listOf(connect(command), query);
        if (json) return print(all);
        const rows = all.map((each) => [
          addressOf(each),
          String(each.version),
          each.is_public ? "public" : "",
          shortTime(each.updated_at),
          each.title.slice(0, 40),
        ]);
        process.stdout.write(`${table(["ENDPOINT", "VERSION", "", "CHANGED", "TITLE"], rows)}\n`);
      },
    );
  pipelines
    .command("show")
    .description("show one, its definition included, as JSON")
    .argument("<name>", "name, or owner/name of a public one of somebody else")
    .option("--at <version>", "as that version was")
    .action(async (name: string, { at }: { at?: string }, command: Command) => {
      const client = connect(command);
      const query = at === undefined ? "" : `?version=${encodeURIComponent(at)}`;
      print(
        (await client.admin<{ workflow: unknown }>("GET", `${await pathOf(client, name)}${query}`)).workflow,
      );
    });
  withSaveOptions(
    pipelines.command("create").description("save a definition; prints the endpoint it is called by"),
  )
    .argument("<file>", "JSON: a definition, or {name, title, contents}; - reads it from standard input")
    .option("--name <name>", "letters, digits, - and _; by default the definition's own")
    .action(async (file: string, options: SaveOptions, command: Command) => {
      const body = bodyOf(file, options);
      const name = options.name ?? body.name;
      if (typeof name !== "string") throw new Error(`${file} has no name; give it one with --name.`);
      const filled = { ...body, name, title: options.title ?? body.title ?? name };
      saved(await connect(command).admin("POST", "/v1/workflows", filled), options);
    });
  withSaveOptions(
    pipelines.command("update").description("save another version; what runs on the one before goes on"),
  )
    .argument("<name>")
    .argument("[file]", "as for create; absent: only what the options say changes")
    .action(async (name: string, file: string | undefined, options: SaveOptions, command: Command) => {
      const client = connect(command);
      const { name: _other, ...body } = bodyOf(file, options);
      const change = { ...body, ...(options.title !== undefined && { title: options.title }) };
      saved(await client.admin("PATCH", await pathOf(client, name), change), options);
    });
  pipelines
    .command("delete")
    .description("remove one; what runs on it goes on")
    .argument("<name>")
    .action(async (name: string, _: object, command: Command) => {
      const client = connect(command);
      await client.admin("DELETE", await pathOf(client, name));
      process.stderr.write("Removed.\n");
    });
}

const withSaveOptions = (command: Command): Command =>
  command
    .option("--title <text>", "what people read")
    .option("--public", "others may call it and look at it")
    .option("--private", "they may not")
    .option("--json", "print the answer as JSON");

const addressOf = ({ user_nickname, name }: Pick<PipelineView, "user_nickname" | "name">): string =>
  `workflows/${user_nickname}/${name}`;

const listOf = async (client: PlatformClient, query: URLSearchParams): Promise<PipelineView[]> =>
  (await client.admin<{ workflows: PipelineView[] }>("GET", `/v1/workflows?${query}`)).workflows;

/** A bare name is one of the caller's own, whose owner the platform knows. */
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

/** What a file holds, as a body: a definition alone becomes its contents. */
function bodyOf(file: string | undefined, options: SaveOptions): Record<string, unknown> {
  if (options.public && options.private) throw new Error("--public and --private cannot both be.");
  const visible = options.public ? { is_public: true } : options.private ? { is_public: false } : {};
  if (file === undefined) return visible;
  let read: unknown;
  try {
    read = JSON.parse(readFileSync(file === "-" ? 0 : file, "utf8"));
  } catch (error) {
    throw new Error(`${file} cannot be read as JSON (${(error as Error).message}).`);
  }
  if (typeof read !== "object" || read === null || Array.isArray(read))
    throw new Error(`${file} is not a JSON object.`);
  const given = read as Record<string, unknown>;
  if (given.contents !== undefined) return { ...given, ...visible };
  const { name, title } = given;
  return {
    ...(name !== undefined && { name }),
    ...(title !== undefined && { title }),
    contents: given,
    ...visible,
  };
}

function saved({ workflow }: { workflow: PipelineView }, { json }: SaveOptions): void {
  if (json) {
    print(workflow);
    return;
  }
  process.stdout.write(`${addressOf(workflow)}\n`);
  process.stderr.write(`Version ${workflow.version}.\n`);
}
