# Rails with Doorkeeper, rack-attack and graphql-ruby. FOLDER holds its database; the other variables are below.
ENV["RAILS_ENV"] = "production"
ENV["DATABASE_URL"] = "sqlite3:#{ENV.fetch('FOLDER')}/peer.db?pool=16&timeout=10000"
require "logger"
require "rails"
require "active_record/railtie"
require "action_controller/railtie"
require "doorkeeper"
require "graphql"
require "rack/attack"

LIFE = ENV.fetch("LIFE", "7200").to_i
# A sign that Doorkeeper, which decodes nothing, must find in the header as it is.
CLIENT = ["peer", ENV.fetch("SECRET", "secret")].freeze

class Peer < Rails::Application
  config.load_defaults 6.1
  config.eager_load = false
  config.secret_key_base = "x" * 32
  config.logger = Logger.new($stderr)
  config.log_level = :warn
  config.hosts.clear
  config.middleware.use Rack::Attack
end

Doorkeeper.configure do
  orm :active_record
  resource_owner_authenticator { nil }
  grant_flows %w[client_credentials]
  access_token_expires_in LIFE
  client_credentials(*ENV.fetch("CLIENT", "from_basic,from_params").split(",").map(&:to_sym))
  revoke_previous_client_credentials_token if ENV["ONE_TOKEN"]
  base_controller "ActionController::API"
  base_metal_controller "ActionController::API"
  api_only
end

if (limit = ENV["THROTTLE"])
  Rack::Attack.cache.store = ActiveSupport::Cache::MemoryStore.new
  Rack::Attack.throttle("tenant", limit: limit.to_i, period: 1) do |request|
    request.get_header("HTTP_X_CLARUS_SUBDOMAIN")
  end
  Rack::Attack.throttled_response_retry_after_header = true
end

class Integration < ActiveRecord::Base
  serialize :configuration, JSON
  validates :name, :integration_type, presence: true

  def wrapped
    { data: { id: id, type: "integrations", attributes: attributes.except("id") } }
  end
end

module Types
  class StringInput < GraphQL::Schema::InputObject
    graphql_name "StringInputType"
    argument :eq, String, required: false
    argument :ilike, String, required: false
    argument :like, String, required: false
    argument :in, [String], required: false
    argument :between, [String], required: false
  end

  class BooleanInput < GraphQL::Schema::InputObject
    graphql_name "BooleanInputType"
    argument :eq, Boolean, required: false
  end

  class IntegrationFilter < GraphQL::Schema::InputObject
    graphql_name "IntegrationFilterType"
    %i[name integration_provider integration_type status external_system_reference1].each do |field|
      argument field, StringInput, required: false, camelize: false
    end
    argument :enabled, BooleanInput, required: false
  end

  class Integration < GraphQL::Schema::Object
    field :id, ID, null: false
    field :name, String, null: true
    %i[integration_provider integration_type status created_at external_system_reference1].each do |field|
      field field, String, null: true, camelize: false
    end
    field :enabled, Boolean, null: true

    def integration_provider = object.provider || object.integration_type
    def status = object.is_active ? "active" : "inactive"
    def enabled = object.is_active
    def created_at = object.created_at.iso8601
  end

  class Integrations < GraphQL::Schema::Object
    # graphql-ruby's own connection: its cursors, its pageInfo.
    field :all, Integration.connection_type, null: false, max_page_size: 50 do
      argument :filter, IntegrationFilter, required: false
    end

    COLUMNS = { integration_provider: :integration_type, enabled: :is_active }.freeze

    def all(filter: nil)
      (filter&.to_h || {}).reduce(::Integration.order(:id)) do |rows, (field, operators)|
        column = ::Integration.arel_table[COLUMNS.fetch(field, field)]
        operators.reduce(rows) do |some, (operator, wanted)|
          some.where(
            case operator
            when :eq then column.eq(wanted)
            when :in then column.in(wanted)
            else column.matches(wanted)
            end,
          )
        end
      end
    end
  end

  class Site < GraphQL::Schema::Object
    field :id, ID, null: false
    field :code, String, null: true
    field :name, String, null: true
  end

  class Sites < GraphQL::Schema::Object
    field :all, Site.connection_type, null: false
    def all = [{ id: "1", code: "HQ", name: "Headquarters" }]
  end

  class Query < GraphQL::Schema::Object
    field :integrations, Integrations, null: false
    field :sites, Sites, null: false
    def integrations = {}
    def sites = {}
  end
end

class PeerSchema < GraphQL::Schema
  query Types::Query
  max_complexity ENV["COMPLEXITY"].to_i if ENV["COMPLEXITY"]
  disable_introspection_entry_points if ENV["NO_INTROSPECTION"]
end

class ApiController < ActionController::API
  before_action :doorkeeper_authorize!
  rescue_from(ActiveRecord::RecordNotFound) { refuse(404, "not_found", "There is no such integration") }

  TAKEN = %i[
    name integration_type provider is_active external_system_reference1 external_system_reference2
    external_system_reference3 string1 string2 string3 string4 string5
  ].freeze

  def create
    record = Integration.new(taken)
    record.save ? render(json: record.wrapped) : invalid(record)
  end

  def update
    record = Integration.find(params[:id])
    record.update(taken) ? render(json: record.wrapped) : invalid(record)
  end

  def destroy
    Integration.find(params[:id]).destroy
    head :no_content
  end

  def graphql
    variables = params[:variables].respond_to?(:to_unsafe_h) ? params[:variables].to_unsafe_h : {}
    render json: PeerSchema.execute(params[:query], variables: variables)
  end

  private

  def taken
    params.require(:data).require(:attributes).permit(*TAKEN, configuration: {})
  end

  def invalid(record)
    refuse(422, "invalid", record.errors.full_messages.join(", "))
  end

  def refuse(status, symbol, details)
    render json: { errors: [{ code: status, symbol: symbol, details: details }] }, status: status
  end
end

# What somebody who logs in on the front end does to the API's session.
class LoginController < ActionController::API
  def create
    Doorkeeper::AccessToken.where(revoked_at: nil).update_all(revoked_at: Time.now.utc)
    head :no_content
  end
end

Rails.application.initialize!

ActiveRecord::Base.logger = nil
ActiveRecord::Schema.verbose = false
ActiveRecord::Schema.define do
  execute "PRAGMA journal_mode = WAL"
  create_table :integrations do |table|
    ApiController::TAKEN.each { |name| name == :is_active ? table.boolean(name, default: true) : table.string(name) }
    table.text :configuration
    table.timestamps
  end
  create_table :oauth_applications do |table|
    table.string :name, :uid, :secret, null: false
    table.text :redirect_uri
    table.string :scopes, null: false, default: ""
    table.boolean :confidential, null: false, default: true
    table.timestamps
  end
  create_table :oauth_access_grants do |table|
    table.references :resource_owner, :application
    table.string :token
    table.integer :expires_in
    table.text :redirect_uri
    table.datetime :created_at, :revoked_at
    table.string :scopes
  end
  create_table :oauth_access_tokens do |table|
    table.references :resource_owner, :application
    table.string :token, index: { unique: true }
    table.string :refresh_token, :scopes
    table.string :previous_refresh_token, null: false, default: ""
    table.integer :expires_in
    table.datetime :created_at, :revoked_at
  end
end

Doorkeeper::Application.create!(
  name: "peer", uid: CLIENT[0], secret: CLIENT[1], redirect_uri: "urn:ietf:wg:oauth:2.0:oob"
)

Rails.application.routes.draw do
  use_doorkeeper { skip_controllers :applications, :authorized_applications }
  post "/api/integrations", to: "api#create"
  patch "/api/integrations/:id", to: "api#update"
  delete "/api/integrations/:id", to: "api#destroy"
  post "/graphql", to: "api#graphql"
  post "/login", to: "login#create"
end

run Rails.application
