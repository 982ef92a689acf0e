// GraphQL Yoga, beside a REST API by hand. VARIANT: plain, no-introspection, complexity, persisted.
import { createServer } from "node:http";
import { useDisableIntrospection } from "@graphql-yoga/plugin-disable-introspection";
import { usePersistedOperations } from "@graphql-yoga/plugin-persisted-operations";
import { createSchema, createYoga } from "graphql-yoga";
import { body, excess, port, resolvers, rest, send, typeDefs } from "./warehouse.js";

const limited = {
  onExecute({ args, setResultAndStopExecution }) {
    const error = excess(args.schema, args.document, args.variableValues);
    if (error) setResultAndStopExecution({ errors: [error] });
  },
};

const plugins = {
  plain: [],
  "no-introspection": [useDisableIntrospection()],
  complexity: [limited],
  persisted: [usePersistedOperations({ getPersistedOperation: () => null })],
}[process.env.VARIANT ?? "plain"];

const yoga = createYoga({ schema: createSchema({ typeDefs, resolvers }), plugins, graphiql: false, logging: false });

createServer(async (request, response) => {
  if (request.url === "/graphql") return yoga(request, response);
  const text = await body(request);
  const answer = rest(request.method, request.url, text ? JSON.parse(text) : undefined);
  send(response, ...(answer ?? [404, {}]));
}).listen(port());
