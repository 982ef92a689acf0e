# rack-attack in front of the origin, whose port is ORIGIN: LIMIT requests of a client in PERIOD seconds.
require "active_support"
require "active_support/cache"
require "net/http"
require "rack/attack"

ORIGIN = ENV.fetch("ORIGIN").to_i
HOP_BY_HOP = %w[connection content-length host keep-alive transfer-encoding version].freeze

Rack::Attack.cache.store = ActiveSupport::Cache::MemoryStore.new
Rack::Attack.throttle("client", limit: ENV.fetch("LIMIT").to_i, period: ENV.fetch("PERIOD").to_i, &:ip)
Rack::Attack.throttled_response_retry_after_header = true

def onward
  Thread.current[:onward] ||= Net::HTTP.new("127.0.0.1", ORIGIN).tap do |http|
    http.max_retries = 0
    http.start
  end
end

def asked(env)
  headers = env.select { |name, _| name.start_with?("HTTP_") }
  headers = headers.transform_keys { |name| name.delete_prefix("HTTP_").downcase.tr("_", "-") }.except(*HOP_BY_HOP)
  headers["content-type"] = env["CONTENT_TYPE"] if env["CONTENT_TYPE"]
  body = env["rack.input"].read
  path = [env["PATH_INFO"], env["QUERY_STRING"]].reject(&:empty?).join("?")
  request = Net::HTTPGenericRequest.new(env["REQUEST_METHOD"], !body.empty?, true, path, headers)
  request.body = body unless body.empty?
  request
end

use Rack::Attack
run(lambda do |env|
  answer = onward.request(asked(env))
  [answer.code.to_i, answer.each_header.to_h.except(*HOP_BY_HOP), [answer.body.to_s]]
end)
