/**
 * The programs that are downloaded or built when a machine lacks them, each with the digests of what was
 * reviewed. `npm run sbom` lists them.
 */

/** A module of Go at a fixed version. */
export interface GoModule {
  path: string;
  version: string;
  /** The digest of its files, as in `go.sum`. It covers the module's own `go.sum`. */
  sum: string;
}

export interface PinnedProgram {
  name: string;
  version: string;
  /** SPDX expression. */
  licence: string;
  /** SHA-256 of the file to download, by platform as Go names it: `linux-amd64`. Others are built. */
  sha256: Readonly<Record<string, string>>;
  module: GoModule;
}

export const TEMPORAL_CLI_PIN: PinnedProgram = {
  name: "Temporal CLI",
  version: "1.5.1",
  licence: "MIT",
  sha256: {
    "linux-amd64": "ddc95e08b0b076efd4ea9733a3f488eb7d2be875f8834e616cd2a37358b4852d",
    "linux-arm64": "bd1b0db9f18b051026de8bf6cc1505f2510f14bbb7a8b9a4a91fff46c77454f5",
    "darwin-amd64": "bbb73e2a31135abe50a1f1cdb35030c42961df618e8ce9c60ae89f201540c5d9",
    "darwin-arm64": "cca01b7ea35ad56e2a328d9ae596bf716bd22313ef63c7a761c88354457c2415",
  },
  module: {
    path: "github.com/temporalio/cli",
    version: "v1.5.1",
    sum: "h1:0RZMk14BWxz44Xg6ciDQvpfAMffoG3J7/K03ql80teY=",
  },
};

/** The last release of MinIO with a binary; later ones are source only. */
export const MINIO_PIN: PinnedProgram = {
  name: "MinIO",
  version: "RELEASE.2025-09-07T16-13-09Z",
  licence: "AGPL-3.0-only",
  sha256: {
    "linux-amd64": "7c5bd8512c6e966455b1d198209358b2d191c77a83ab377c4073281065fb855f",
    "linux-arm64": "5c83cd2cf151717ba0243f73e1c7802ff36e272b67144bdd7f1f7d684fd6f03d",
    "darwin-amd64": "4759080aeef7385aaceaac1131c30aaeb99605921553967dc6d3ef4e16ac64f9",
    "darwin-arm64": "7c3b3039b76e55a1b80935848ed83998d5e8d317374f87851f46a019ff5c0aa4",
  },
  module: {
    path: "github.com/minio/minio",
    version: "v0.0.0-20260212201848-7aac2a2c5b7c",
    sum: "h1:/qdoYujxF5MBLDMVLeiYJ/7fBa1HikX39Dvzb9Ji8pA=",
  },
};

/** Temporal's server as it runs in production, for `npm run test:production`. */
export const TEMPORAL_SERVER_MODULE: GoModule = {
  path: "go.temporal.io/server",
  version: "v1.32.0",
  sum: "h1:JQoqsVREaGc8vcuDNfuRlySiV3tVi81XUOVC9LeL/1Y=",
};
