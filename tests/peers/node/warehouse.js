// The integrations of a server in JavaScript: its records, its REST calls, and its GraphQL schema with resolvers.
import { buildSchema, graphql as execute, GraphQLError } from "graphql";
import { getComplexity, simpleEstimator } from "graphql-query-complexity";

export const typeDefs = `#graphql
  input StringInputType { eq: String ilike: String like: String in: [String!] between: [String!] }
  input BooleanInputType { eq: Boolean }
  input IntegrationFilterType {
    name: StringInputType integration_provider: StringInputType integration_type: StringInputType
    status: StringInputType external_system_reference1: StringInputType enabled: BooleanInputType
  }
  type Integration {
    id: ID! name: String integration_provider: String integration_type: String status: String enabled: Boolean
    created_at: String external_system_reference1: String
  }
  type PageInfo { hasNextPage: Boolean! endCursor: String }
  type IntegrationEdge { cursor: String! node: Integration! }
  type IntegrationConnection { edges: [IntegrationEdge!]! pageInfo: PageInfo! }
  type IntegrationQuery { all(filter: IntegrationFilterType, first: Int, after: String): IntegrationConnection! }
  type Site { id: ID! code: String name: String }
  type SiteEdge { node: Site! }
  type SiteConnection { edges: [SiteEdge!]! }
  type SiteQuery { all(first: Int): SiteConnection! }
  type Query { integrations: IntegrationQuery! sites: SiteQuery! }
`;

const like = (pattern, flags) => {
  const inner = pattern.replaceAll("%", "");
  const escaped = inner.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(escaped, `${flags}s`);
};

const operators = {
  eq: (value, wanted) => value === wanted,
  in: (value, wanted) => wanted.includes(value),
  ilike: (value, wanted) => like(wanted, "i").test(value ?? ""),
  like: (value, wanted) => like(wanted, "").test(value ?? ""),
  between: (value, [low, high]) => low <= value && value <= high,
};

const row = (record) => ({
  id: String(record.id),
  name: record.name,
  integration_provider: record.provider ?? record.integration_type,
  integration_type: record.integration_type,
  status: record.is_active ? "active" : "inactive",
  enabled: record.is_active,
  created_at: record.created_at,
  external_system_reference1: record.external_system_reference1 ?? null,
});

const wrapped = ({ id, ...attributes }) => ({ data: { id, type: "integrations", attributes } });

const refused = (status, symbol, details) => [status, { errors: [{ code: status, symbol, details }] }];

const sites = { all: () => ({ edges: [{ node: { id: "1", code: "HQ", name: "Headquarters" } }] }) };

const schema = buildSchema(typeDefs);

export class Warehouse {
  records = new Map();
  last = 0;

  resolvers = {
    Query: { integrations: () => ({}), sites: () => ({}) },
    IntegrationQuery: { all: (_, given) => this.all(given) },
    SiteQuery: sites,
  };

  all({ filter, first, after }) {
    let rows = [...this.records.values()].map(row);
    for (const [field, tests] of Object.entries(filter ?? {}))
      for (const [operator, wanted] of Object.entries(tests ?? {}))
        rows = rows.filter((each) => operators[operator](each[field], wanted));
    const from = after == null ? 0 : rows.findIndex((each) => each.id === after) + 1;
    const page = rows.slice(from, from + (first ?? 50));
    return {
      edges: page.map((node) => ({ cursor: node.id, node })),
      pageInfo: { hasNextPage: from + page.length < rows.length, endCursor: page.at(-1)?.id ?? null },
    };
  }

  /** Executes an operation by graphql-js alone. */
  graphql({ query, variables }) {
    const rootValue = { integrations: { all: (given) => this.all(given) }, sites };
    return execute({ schema, source: query, rootValue, variableValues: variables });
  }

  /** Answers a REST call: a status, and mostly a document. */
  rest(method, path, document) {
    const match = /^\/api\/integrations(?:\/(\d+))?$/.exec(path);
    if (!match) return refused(404, "no_such_path", "there is nothing here");
    const attributes = document?.data?.attributes ?? {};
    if (method === "POST" && !match[1]) {
      if (!attributes.name) return refused(422, "name_blank", "name is blank");
      const record = { is_active: true, ...attributes, id: ++this.last, created_at: new Date().toISOString() };
      this.records.set(record.id, record);
      return [200, wrapped(record)];
    }
    const record = this.records.get(Number(match[1]));
    if (!record) return refused(404, "not_found", "no such integration");
    if (method === "PATCH") return [200, wrapped(Object.assign(record, attributes))];
    this.records.delete(record.id);
    return [204];
  }
}

const byFirst = ({ args, childComplexity }) =>
  typeof args.first === "number" ? args.first * childComplexity : undefined;

/** What graphql-query-complexity says of an operation that asks for too much, or nothing. */
export function excess(schema, query, variables) {
  const most = Number(process.env.MOST ?? 300);
  const estimators = [byFirst, simpleEstimator({ defaultComplexity: 1 })];
  const complexity = getComplexity({ schema, query, variables: variables ?? {}, estimators });
  return complexity > most
    ? new GraphQLError(`Query is too complex: ${complexity}. Maximum allowed complexity: ${most}`)
    : undefined;
}

export async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

export function send(response, status, document) {
  const text = document === undefined ? "" : JSON.stringify(document);
  response.writeHead(status, text ? { "Content-Type": "application/json" } : {});
  response.end(text);
}

export function port() {
  return { port: Number(process.env.PORT), host: "127.0.0.1" };
}
