// Apollo Server in several settings, each under a path of its own, beside a REST API by hand.
import { createServer } from "node:http";
import { ApolloServer, HeaderMap } from "@apollo/server";
import { GraphQLError } from "graphql";
import { body, excess, port, send, typeDefs, Warehouse } from "./warehouse.js";

// Apollo answers 500 to what a plugin throws, unless the error says otherwise.
const limited = (status) => ({
  async requestDidStart() {
    return {
      async didResolveOperation({ schema, document, request }) {
        const error = excess(schema, document, request.variables);
        if (error) throw status ? new GraphQLError(error.message, { extensions: { http: { status } } }) : error;
      },
    };
  },
});

async function setting({ production = false, plugins = [], sdl = typeDefs } = {}) {
  const warehouse = new Warehouse();
  const apollo = new ApolloServer({
    typeDefs: sdl,
    resolvers: warehouse.resolvers,
    // What NODE_ENV=production turns off.
    introspection: !production,
    includeStacktraceInErrorResponses: !production,
    plugins,
    stopOnTerminationSignals: false,
    logger: { debug() {}, info() {}, warn() {}, error() {} },
  });
  await apollo.start();
  return { warehouse, apollo };
}

const settings = {
  plain: await setting(),
  production: await setting({ production: true }),
  "complexity-400": await setting({ plugins: [limited(400)] }),
  "complexity-500": await setting({ plugins: [limited()] }),
  // An older schema, in which what is asked for is not valid.
  older: await setting({ sdl: typeDefs.replace("status: String enabled: Boolean", "enabled: Boolean") }),
};

createServer(async (request, response) => {
  const [, name, path] = /^\/([^/]+)(\/.*)$/.exec(request.url);
  const { warehouse, apollo } = settings[name];
  const text = await body(request);
  if (path === "/oauth/token") return send(response, 200, { access_token: "static-token", token_type: "Bearer" });
  const document = text ? JSON.parse(text) : undefined;
  if (path !== "/graphql") return send(response, ...warehouse.rest(request.method, path, document));
  const headers = new HeaderMap(Object.entries(request.headers));
  const answer = await apollo.executeHTTPGraphQLRequest({
    httpGraphQLRequest: { method: request.method, headers, search: "", body: document },
    context: async () => ({}),
  });
  response.writeHead(answer.status ?? 200, Object.fromEntries(answer.headers));
  return response.end(answer.body.string);
}).listen(port());
