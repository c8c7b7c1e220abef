/** Every fault that a run can make: its begin, how long it lasts, and its end. */
import { cp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { sleep } from "../../../src/core/concurrency/sleep.ts";
import type { Random } from "../random.ts";
import { type Part, signal } from "../stack/part.ts";
import type { RolePart } from "../stack/role-process.ts";
import { CLOCK_SHIFTED, type Stack } from "../stack/stack.ts";

export interface Fault {
  name: string;
  /** The kind of the part that is away, as the limits name it. */
  target: string;
  /** The names of the parts that it touches; faults that overlap touch different ones. */
  parts: string[];
  /** Shortest and longest time that it lasts, in milliseconds. */
  holdMs: [least: number, most: number];
  begin(random: Random): Promise<void>;
  /** Makes the parts whole again. Resolves when they are ready. */
  end(): Promise<void>;
}

/** Faults of a part that ends; it is started again afterwards. */
const ENDS = {
  kill: { how: "SIGKILL", holdMs: [200, 2_500] },
  restart: { how: "SIGTERM", holdMs: [0, 500] },
} as const;

/**
 * Freezes last longer than the heartbeat of a GPU worker's attempts, so that these are tried elsewhere. An
 * object store is away for less time than the attempts of a job last.
 */
const FREEZE_MS: Partial<Record<Part["kind"], [number, number]>> = {
  "gpu-worker": [3_500, 6_500],
  "object-store": [500, 1_500],
};
const NOTHING = async (): Promise<void> => {};
/** Longest wait for a role that is started without a service to notice that, in milliseconds. */
const SPEAKS_WITHIN_MS = 20_000;

/** Lists the faults of a stack. */
export function faultsOf(stack: Stack): Fault[] {
  return [
    ...[...stack.services, ...stack.roles].flatMap(faultsOfPart),
    ...engineFaults(stack),
    ...redisFaults(stack),
    ...postgresStops(stack),
    frozenGateways(stack),
    shiftedClock(stack),
    ...startsWithout(stack),
  ];
}

function faultsOfPart(part: Part): Fault[] {
  const about = { target: part.kind, parts: [part.name] };
  const ends = Object.entries(ENDS).map(([word, { how, holdMs }]): Fault => {
    const most = part.kind === "object-store" ? 600 : holdMs[1];
    return {
      ...about,
      name: `${word} ${part.name}`,
      holdMs: [Math.min(holdMs[0], most), most],
      begin: () => part.end(how),
      end: () => part.start(),
    };
  });
  const freeze: Fault = {
    ...about,
    name: `freeze ${part.name}`,
    holdMs: FREEZE_MS[part.kind] ?? [800, 4_000],
    begin: () => part.freeze(),
    end: () => part.thaw(),
  };
  return [...ends, freeze];
}

/** The stub engine of a GPU worker dies, or stops to answer until its GPU worker has ended it. */
function engineFaults(stack: Stack): Fault[] {
  let pid = 0;
  const about = { target: "engine", parts: ["gpu-worker-1", "gpu-worker-2"] };
  const strike = (how: NodeJS.Signals) => async (random: Random) => {
    const engines = await stack.engines();
    pid = engines.length > 0 ? random.pick(engines).pid : 0;
    signal(pid, how);
  };
  return [
    { ...about, name: "kill an engine", holdMs: [200, 600], begin: strike("SIGKILL"), end: NOTHING },
    {
      ...about,
      name: "freeze an engine",
      holdMs: [2_000, 5_000],
      begin: strike("SIGSTOP"),
      end: async () => signal(pid, "SIGCONT"),
    },
  ];
}

/** Redis forgets everything, or comes back with the state of some time ago. */
function redisFaults({ services, redisFiles, folder }: Stack): Fault[] {
  const redis = partOf(services, "redis");
  const copy = join(folder, "redis-copy");
  const about = { target: "redis", parts: ["redis"] };
  return [
    {
      ...about,
      name: "empty redis",
      holdMs: [0, 300],
      begin: () => sendToRedis(redis, "FLUSHALL"),
      end: NOTHING,
    },
    {
      ...about,
      name: "restore redis",
      holdMs: [2_000, 4_000],
      begin: async () => {
        await rm(copy, { recursive: true, force: true });
        await cp(redisFiles, copy, { recursive: true });
      },
      end: async () => {
        await redis.end("SIGKILL");
        await rm(redisFiles, { recursive: true });
        await cp(copy, redisFiles, { recursive: true });
        await redis.start();
      },
    },
  ];
}

function sendToRedis(redis: Part, command: string): Promise<void> {
  return new Promise((done, fail) => {
    const socket = connect(redis.port?.() ?? 0, "127.0.0.1", () => socket.write(`${command}\r\n`));
    socket.once("data", () => {
      socket.destroy();
      done();
    });
    socket.once("error", fail);
  });
}

/** PostgreSQL's immediate stop, as in a crash: sessions end at once, and the next start recovers. */
function postgresStops({ services }: Stack): Fault[] {
  return (["postgres", "temporal-database"] as const).map((kind) => {
    const part = partOf(services, kind);
    return {
      name: `immediate stop of ${kind}`,
      target: kind,
      parts: [kind],
      holdMs: [100, 2_000],
      begin: () => part.end("SIGQUIT"),
      end: () => part.start(),
    };
  });
}

/** Both gateways are frozen past the ends of jobs. */
function frozenGateways({ roles }: Stack): Fault {
  const gateways = roles.filter(({ kind }) => kind === "gateway");
  return {
    name: "freeze both gateways",
    target: "gateways",
    parts: gateways.map(({ name }) => name),
    holdMs: [1_500, 3_000],
    begin: async () => void (await Promise.all(gateways.map((gateway) => gateway.freeze()))),
    end: async () => void (await Promise.all(gateways.map((gateway) => gateway.thaw()))),
  };
}

/** The clock of a gateway jumps an hour ahead, and back; its timers are right. */
function shiftedClock({ roles }: Stack): Fault {
  const gateway = roleOf(roles, CLOCK_SHIFTED);
  const shift = async (): Promise<void> => signal(gateway.pid(), "SIGUSR2");
  return {
    name: `${gateway.name} with its clock an hour ahead`,
    target: "gateway-clock",
    parts: [gateway.name],
    holdMs: [2_500, 4_000],
    begin: shift,
    end: shift,
  };
}

/**
 * Roles that are started while a service is away must come up once it is back. The object store is none of
 * these services: it would be away for longer than the attempts of a job with files last.
 */
function startsWithout({ roles, services }: Stack): Fault[] {
  const pairs = [
    ["gateway-1", "postgres"],
    ["gateway-1", "temporal"],
    ["gateway-2", "redis"],
    ["admin-1", "postgres"],
    ["orchestrator-1", "temporal"],
    ["orchestrator-2", "postgres"],
    ["gpu-worker-1", "temporal"],
    ["gpu-worker-2", "postgres"],
  ] as const;
  return pairs.map(([name, kind]) => {
    const role = roleOf(roles, name);
    const service = partOf(services, kind);
    return {
      name: `start ${name} without ${kind}`,
      target: `start without ${kind}`,
      parts: [name, kind],
      holdMs: [500, 2_500],
      begin: async () => {
        await role.end("SIGTERM");
        await service.end("SIGKILL");
        role.launch();
        // It says that it waits, or ends. Only then has it missed the service.
        await Promise.race([role.spoke(), sleep(SPEAKS_WITHIN_MS)]);
      },
      end: async () => {
        await service.start();
        await role.ready();
      },
    };
  });
}

function partOf(services: readonly Part[], kind: Part["kind"]): Part {
  const found = services.find((part) => part.kind === kind);
  if (!found) throw new Error(`the stack has no ${kind}`);
  return found;
}

function roleOf(roles: readonly RolePart[], name: string): RolePart {
  const found = roles.find((role) => role.name === name);
  if (!found) throw new Error(`the stack has no ${name}`);
  return found;
}
