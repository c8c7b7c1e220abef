import postgres from "postgres";

export type Sql = postgres.Sql;
export const connectPostgres = (databaseUrl: string, { maxConnections }: { maxConnections: number }): Sql =>
  postgres(databaseUrl, { max: maxConnections, connect_timeout: 2, onnotice: () => {} });
