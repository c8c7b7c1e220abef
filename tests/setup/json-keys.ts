/** Lists the names at the top of a JSON object as they are written: twice when one is there twice. */
export function topKeys(json: string): string[] {
  JSON.parse(json); // what follows is right for JSON only
  const keys: string[] = [];
  let depth = 0;
  for (const [token] of json.matchAll(/"(?:\\.|[^"\\])*"\s*:?|[{}[\]]/g)) {
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    else if (depth === 1 && token.endsWith(":")) keys.push(JSON.parse(token.slice(0, -1)) as string);
  }
  return keys;
}
