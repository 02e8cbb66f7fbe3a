---@meta
-- What transforms and pipeline files may call, for editors (LuaLS). Never loaded.

---A row of a table, changed in place: `row.column`. What the types of columns read as and take is in
---README.md. It lives until the transform returns.
---@class pipe.row: { [string]: any }

---@class pipe.event
---@field op "insert"|"update"|"delete"|"snapshot" of the change
---@field table string the source's table
---@field image "after"|"before" which image `row` is
---@field before pipe.row? the image before an update or delete as it came from the source; read-only
---@field version integer uint64_t: the `_version` of this image
---@field time_us integer int64_t: commit time, microseconds since 1970

---What a transform returns to quarantine a change.
---@class pipe.dlq_mark

---@alias pipe.transform fun(row: pipe.row, event: pipe.event): pipe.row|pipe.row[]|pipe.dlq_mark|nil|false

---@class pipe.lookup_spec
---@field table string a captured table
---@field key string|string[] its key columns
---@field values string|string[] the columns that answers have; none of them marked pii

---Answers by key: `lookup[id]`, `lookup:get(a, b)`; nil where the key is unknown.
---@class pipe.lookup: { [any]: table? }
---@field get fun(self: pipe.lookup, ...: any): table?

---@class pipe.secret_name

---@class pipe.token_spec
---@field key pipe.secret_name pipe.secret "NAME"
---@field id string|number? names the key inside tokens; default 1
---@field previous { key: pipe.secret_name, id: string|number }[]? keys of before, for token:with(id, value)

---`token(value)`: "tok_<id>_<24 characters>", the same for the same value; nil for nil.
---@class pipe.token
---@overload fun(value: any): string?
---@field email fun(self: pipe.token, address: string?): string? hides the name, keeps the domain
---@field with fun(self: pipe.token, id: string|number, value: any): string? a token of an earlier key

---@class pipe.counter
---@field add fun(self: pipe.counter, n: number?) counts both images of a change
---@field set fun(self: pipe.counter, value: number)

---@class pipe
local pipe = {}

---Quarantines the change. The reason is a literal: what is built out of values is cut off.
---@param reason string
---@param column string? the column it is about
---@return pipe.dlq_mark
function pipe.dlq(reason, column) end

---A copy of the row, to be returned in a list beside it.
---@param row pipe.row
---@return pipe.row
function pipe.copy(row) end

---The row for another target, column by column of the same name. The target stands in tables.<name>.routes.
---@param row pipe.row
---@param target string
---@return pipe.row
function pipe.route(row, target) end

---A new row for a target; columns that aren't given are NULL.
---@param target string
---@param values { [string]: any }?
---@return pipe.row
function pipe.row(target, values) end

---A DATE, DATETIME, TIMESTAMP or TIME column as microseconds (int64_t); nil for NULL and zero dates.
---@param row pipe.row
---@param column string
---@return integer?
function pipe.epoch_us(row, column) end

---A small table kept from the stream itself. At the top of a module.
---@param spec pipe.lookup_spec
---@return pipe.lookup
function pipe.lookup(spec) end

---A secret by the name of its environment variable (or of the one that names its file, NAME_FILE).
---@param name string
---@return pipe.secret_name
function pipe.secret(name) end

---Keyed tokens (HMAC-SHA256). At the top of a module.
---@param spec pipe.token_spec
---@return pipe.token
function pipe.token(spec) end

---A counter or gauge among the engine's metrics. At the top of a module.
---@param name string letters, digits and _
---@return pipe.counter
function pipe.counter(name) end

---A line in the engine's log, at most ten a second. Literals only: what is built out of values is cut off.
---@param level "debug"|"info"|"warn"|"error"
---@param text string
function pipe.log(level, text) end

return pipe
