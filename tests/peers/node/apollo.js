// Apollo Server, beside a REST API by hand. VARIANT: plain, production, complexity.
import { createServer } from "node:http";
import { ApolloServer, HeaderMap } from "@apollo/server";
import { body, excess, port, resolvers, rest, send, typeDefs } from "./warehouse.js";

const variant = process.env.VARIANT ?? "plain";

const limited = {
  async requestDidStart() {
    return {
      async didResolveOperation({ schema, document, request }) {
        const error = excess(schema, document, request.variables);
        if (error) throw error;
      },
    };
  },
};

const apollo = new ApolloServer({
  typeDefs,
  resolvers,
  // What NODE_ENV=production turns off.
  introspection: variant !== "production",
  includeStacktraceInErrorResponses: variant !== "production",
  plugins: variant === "complexity" ? [limited] : [],
  logger: { debug() {}, info() {}, warn() {}, error() {} },
});
await apollo.start();

createServer(async (request, response) => {
  const text = await body(request);
  if (request.url !== "/graphql") {
    const answer = rest(request.method, request.url, text ? JSON.parse(text) : undefined);
    return send(response, ...(answer ?? [404, {}]));
  }
  const headers = new HeaderMap(Object.entries(request.headers));
  const answer = await apollo.executeHTTPGraphQLRequest({
    httpGraphQLRequest: { method: request.method, headers, search: "", body: JSON.parse(text) },
    context: async () => ({}),
  });
  response.writeHead(answer.status ?? 200, Object.fromEntries(answer.headers));
  response.end(answer.body.string);
}).listen(port());
