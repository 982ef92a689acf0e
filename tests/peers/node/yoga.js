// GraphQL Yoga in several settings, each under a path of its own, beside a REST API by hand.
import { createServer } from "node:http";
import { useDisableIntrospection } from "@graphql-yoga/plugin-disable-introspection";
import { usePersistedOperations } from "@graphql-yoga/plugin-persisted-operations";
import { createSchema, createYoga } from "graphql-yoga";
import { body, excess, port, send, typeDefs, Warehouse } from "./warehouse.js";

const limited = {
  onExecute({ args, setResultAndStopExecution }) {
    const error = excess(args.schema, args.document, args.variableValues);
    if (error) setResultAndStopExecution({ errors: [error] });
  },
};

// What it throws is masked, as is everything that is no GraphQLError.
class Broken extends Warehouse {
  all() {
    throw new Error("the database at db.internal said no");
  }
}

const setting = (plugins, warehouse = new Warehouse(), sdl = typeDefs) => ({
  warehouse,
  yoga: createYoga({
    schema: createSchema({ typeDefs: sdl, resolvers: warehouse.resolvers, resolverValidationOptions: {} }),
    plugins,
    graphqlEndpoint: "*",
    graphiql: false,
    logging: false,
  }),
});

const settings = {
  plain: setting([]),
  "no-introspection": setting([useDisableIntrospection()]),
  complexity: setting([limited]),
  persisted: setting([usePersistedOperations({ getPersistedOperation: () => null })]),
  broken: setting([], new Broken()),
  // An older schema, in which what is asked for is not valid.
  older: setting([], new Warehouse(), typeDefs.replace("status: String enabled: Boolean", "enabled: Boolean")),
};

createServer(async (request, response) => {
  const [, name, path] = /^\/([^/]+)(\/.*)$/.exec(request.url);
  const { warehouse, yoga } = settings[name];
  if (path === "/graphql") return yoga(request, response);
  if (path === "/oauth/token") return send(response, 200, { access_token: "static-token", token_type: "Bearer" });
  const text = await body(request);
  return send(response, ...warehouse.rest(request.method, path, text ? JSON.parse(text) : undefined));
}).listen(port());
