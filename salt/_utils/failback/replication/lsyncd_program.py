"""
The program in Lua that lsyncd runs, as texts for ``str.format``: its own braces are doubled.

:py:mod:`failback.replication.lsyncd_config` fills them in, and says what they do that lsyncd does not.
"""

#: One replicated path.
CARRY = """\
carry{{ -- {path}
	source = {source},
	target = {target},
	filters = {filters},
	watch = {watch},
	match = {match},
}}
"""

#: All of it.
CONFIG = r"""{mark}, pair {pair}. Changes are overwritten by highstate.
-- {primary} to {secondary}; systemd starts it when `failback gate {pair}` says yes.

io.stdout:setvbuf("line")

settings{{
	statusFile = {status},
	statusInterval = {heartbeat},
	insist = true, -- an absent standby is tried again
	inotifyMode = "CloseWrite or Modify",
}}

-- lsyncd writes the status file only in a cycle, and goes through one only when something happens.
local function heartbeat()
	alarm(now() + {heartbeat}, heartbeat)
end
heartbeat()

-- What lsyncd does after rsync has ended with this status.
local exitcodes = {{
	[0] = "ok", [24] = "ok", -- 24: a file vanished meanwhile; its deletion waits already
	[1] = "die", [4] = "die", [25] = "die",
	[2] = "again", -- rsync 3.5.0 at times, when one of several names of a file vanishes
	[3] = "again", [5] = "again", [6] = "again", [10] = "again", [11] = "again", [12] = "again",
	[13] = "again", [14] = "again", [20] = "again", [21] = "again", [22] = "again", [23] = "again",
	[30] = "again", [35] = "again", [255] = "again",
}}
for signal = 1, 64 do
	exitcodes[128 + signal] = "again"
end

-- What is mounted here, by the kernel's numbers (proc_pid_mountinfo(5)), and in its order.
local function mounts()
	local found, all = {{ }}, {{ }}
	local function plain(field)
		return (field:gsub("\\(%d%d%d)", function(octal) return string.char(tonumber(octal, 8)) end))
	end
	for line in io.lines("/proc/self/mountinfo") do
		local id, parent, root, point, kind, source, options =
			line:match("^(%d+) (%d+) %S+ (%S+) (%S+) .* %- (%S+) (%S*) (%S*)")
		local fuse = kind == "fuse" or kind:sub(1, 5) == "fuse."
		local user = fuse and ("," .. options):match(",user_id=(%d+)")
		all[#all + 1] = {{ id = id, parent = parent, kind = kind, source = plain(source), root = plain(root),
			point = plain(point):gsub("/?$", "/", 1), by_user = user and user ~= "0" }}
		found[id] = all[#all]
	end
	return all, found
end

-- Whether something is missing when a mount below a folder is gone: as failback.decisions.mounts has it.
local transient = {{ }}
for _, kind in ipairs({transient}) do
	transient[kind] = true
end
local function counts(mount, above)
	if transient[mount.kind] or mount.by_user or mount.point:find({snapshots}, 1, true) then
		return false
	end
	for _, store in ipairs({runtimes}) do
		if mount.point:sub(1, #store) == store and mount.point:find("^[^/]+/[^/]", #store + 1) then
			return false
		end
	end
	if not above then
		return true
	elseif above.kind == "autofs" then
		return mount.source:sub(1, 5) == "/dev/"
	elseif mount.point:sub(1, #above.point) ~= above.point then
		return true
	end
	local rest = mount.point:sub(#above.point)
	local function continues(one, other)
		return one:gsub("/*$", "/", 1) == other:gsub("/+$", "", 1) .. rest
	end
	if mount.kind == above.kind and mount.source == above.source then
		return not continues(mount.root, above.root)
	end
	return not (mount.kind:sub(1, 3) == "nfs" and above.kind:sub(1, 3) == "nfs"
		and continues(mount.source, above.source))
end

-- The numbers of the mount that each folder lies on, and of what counts below it.
local function mounted()
	local own, length, below = {{ }}, {{ }}, {{ }}
	local all, found = mounts()
	for _, mount in ipairs(all) do
		for number, source in ipairs({sources}) do
			if source:sub(1, #mount.point) == mount.point then
				if #mount.point >= (length[number] or 0) then
					own[number], length[number] = mount.id, #mount.point
				end
			elseif mount.point:sub(1, #source) == source and counts(mount, found[mount.parent]) then
				below[#below + 1] = mount.id
			end
		end
	end
	return table.concat(own, " ") .. " / " .. table.concat(below, " ")
end

-- The gate has looked at the folders before the start. One that is unmounted since is empty, and rsync would
-- delete on the other node what is missing here. The file outlives a second reading of this configuration,
-- which lsyncd does when it has lost events.
local function require_mounted()
	local now, at_start, file = mounted(), nil, io.open({mounted})
	if file then
		at_start = file:read("a")
	else
		at_start = now
		file = io.open({mounted}, "w")
		file:write(now)
	end
	file:close()
	if now ~= at_start then
		log("Error", "something was mounted or unmounted: the gate has to look before anything is carried")
		terminate(-1)
	end
end

-- The shared SSH connection gets no more to do, and ends with what it has: the next rsync makes a new one.
-- For as long as it lasts, sshd goes by what it found when that connection was made: a password that had
-- expired, for one.
local connection = {{ {ssh_config}, {socket}, {host} }}
local take_connection = 'config=$1 socket=$2 host=$3; shift 3; '
local leave_connection = 'ssh -F "$config" -S "$socket" -O stop "$host" > /dev/null 2>&1 < /dev/null'

-- The shell stays between: lsyncd takes a killed child for one that ended well. It also keeps failures. And
-- it hears what is no failure to rsync: a folder is still there on the other node, for something is in it
-- that this pass was not about.
local watched = take_connection .. 'failed=$1 left=$2; shift 2; '
	.. 'said=$("$0" "$@"); code=$?; printf %s "$said"; '
	.. 'case $code:$said in 0:*"cannot delete non-empty directory"*) code=$left ;; esac; '
	.. 'case $code in 0|24|{compare}) ;; *) echo "$code" >> "$failed" ;; esac; '
	.. 'case $code in 0|2[345]|{compare}) ;; *) ' .. leave_connection .. ' ;; esac; exit $code'
local function rsync(agent, config, standard_input, left, arguments)
	require_mounted()
	spawn(agent, "/bin/sh", "<", standard_input, "-c", watched, config.rsync.binary, connection, {failed},
		left, config.rsync._computed, arguments, config.source, config.target)
end

-- A name as a pattern of rsync, in which a backslash means something only beside a wildcard.
local function literal(path, beside_wildcard)
	if beside_wildcard or path:find("[*?[]") then
		return (path:gsub("[\\*?[]", "\\%0"))
	end
	return path
end

-- The proof that all has been carried, also while a file changes without a pause. When a name is seen in our
-- own folder, every earlier change is in a queue. These very changes are remembered, and no later one counts.
local inlets, proofs, proved = {{ }}, {{ }}, {{ }}

local function note_proved()
	local before = #proved
	for number = #proofs, 1, -1 do
		if next(proofs[number].left) == nil then
			proved[#proved + 1] = table.remove(proofs, number).name
		end
	end
	if #proved == before then
		return
	end
	while #proved > {kept_proofs} do
		table.remove(proved, 1)
	end
	-- Whole, for somebody may be reading it.
	local file = io.open({proved} .. ".new", "w")
	if file then
		file:write(table.concat(proved, "\n"), "\n")
		file:close()
		os.rename({proved} .. ".new", {proved})
	end
end

local function begin_proof(name)
	local left = {{ }}
	for item, inlet in pairs(inlets) do
		inlet.getEvents(function(event)
			left[event] = item
			return false
		end)
	end
	proofs[#proofs + 1] = {{ name = name, left = left }}
	if #proofs > {kept_proofs} then
		table.remove(proofs, 1)
	end
	note_proved()
end

-- These changes are carried. A proof that waited for one of them has to wait for what has come in its place.
local function settle(events, instead)
	for _, proof in ipairs(proofs) do
		for _, event in ipairs(events) do
			if proof.left[event] then
				proof.left[event], proof.left[instead or event] = nil, instead and proof.left[event]
			end
		end
	end
	note_proved()
end

-- lsyncd puts the creation of a file in the place of its deletion, if that one still waits.
local function follow_replaced(item, queued, last_of)
	for _, proof in ipairs(proofs) do
		local replaced = {{ }}
		for event, of in pairs(proof.left) do
			if of == item and not queued[event] and last_of[event.path] then
				replaced[#replaced + 1] = event
			end
		end
		for _, event in ipairs(replaced) do
			proof.left[event], proof.left[last_of[event.path]] = nil, item
		end
	end
end

local function carry(item)
	-- What each pass carries, and the names in all of them.
	local passes, carrying = {{ }}, {{ }}

	-- The whole of it, when lsyncd has started, and when a pass has left a folder.
	local function first_pass(event)
		log("Normal", "first pass of ", event.config.source, " to ", event.config.target)
		rsync(event, event.config, "", "23", item.filters)
	end

	local queue
	local function collect(agent, exitcode)
		local carried = passes[agent] or {{ agent }}
		passes[agent] = nil
		for _, event in ipairs(carried) do
			carrying[event.path] = nil
		end
		agent.config.maxProcesses = {max_processes}
		if exitcode == {compare} then
			log("Normal", "a folder is left on the other node: all of ", agent.config.source, " is compared")
			settle(carried, queue.createBlanketEvent())
			return "ok"
		end
		local result = default.collect(agent, exitcode)
		if result == "ok" then
			settle(carried)
		end
		return result
	end

	-- What waits is being carried already, and has changed since. As long as a process could be started, and
	-- is not, lsyncd asks again at once. Another change may come meanwhile, and need not wait as long.
	local function wait_for_a_pass(config)
		config.maxProcesses = 1
		alarm(now() + {again}, function()
			config.maxProcesses = {max_processes}
		end)
	end

	local function belongs(path)
		return not item.match or string.find(string.match(path, "^/?([^/]*)"), item.match) ~= nil
	end

	-- What has changed since.
	local function changes(inlet)
		local first = inlet.getEvent()
		if first and first.etype == "Blanket" then
			if next(passes) then
				wait_for_a_pass(inlet.getConfig())
			else
				first_pass(first)
			end
			return
		end
		queue = inlet
		local foreign, waiting, changed_again = {{ }}, {{ }}, false
		local queued, last_of = {{ }}, {{ }}
		local events = inlet.getEvents(function(event)
			queued[event], last_of[event.path] = true, event
			if event.etype == "Init" or event.etype == "Blanket" then
				return false
			end
			if not belongs(event.path) then
				foreign[#foreign + 1] = event
				return false
			end
			if event.status ~= "active" then
				if carrying[event.path] then
					changed_again = true
					return false
				end
				waiting[#waiting + 1] = event
			end
			return true
		end)
		follow_replaced(item, queued, last_of)
		for _, event in ipairs(foreign) do
			if event.status == "wait" then
				inlet.discardEvent(event)
			end
		end
		settle(foreign)

		local names, known = {{ }}, {{ }}
		local function add(name)
			if not known[name] then
				known[name] = true
				names[#names + 1] = name
			end
		end
		local paths = events.getPaths(function(etype, path)
			if (etype == "Delete" or etype == "Create") and path:sub(-1) == "/" then
				-- "***" matches the folder and all in it. Of a new one, too: an earlier pass may have carried
				-- what was in it before lsyncd watched it, and nobody reports that this has gone since.
				add(literal(path, true) .. "***")
			else
				add(literal(path))
			end
			return path
		end)
		if #paths == 0 then
			if changed_again then
				wait_for_a_pass(inlet.getConfig())
			end
			return
		end
		for _, path in ipairs(paths) do
			local parent = path:match("^(.*/)[^/]+/?$")
			while parent and not known[literal(parent)] do
				add(literal(parent))
				parent = parent:match("^(.*/)[^/]+/?$")
			end
		end
		log("Normal", #names, " names in ", inlet.getConfig().source)
		rsync(events, inlet.getConfig(), table.concat(names, "\0"), "{compare}",
			{{ "--from0", "--include-from=-", "--exclude=*" }})
		passes[events] = {{ }}
		for _, event in ipairs(waiting) do
			if event.status == "active" then
				table.insert(passes[events], event)
				carrying[event.path] = true
			end
		end
	end

	inlets[item] = sync{{
		default.rsync,
		source = item.source,
		target = item.target,
		delay = {delay},
		maxProcesses = {max_processes},
		delete = true,
		filter = item.watch,
		exitcodes = exitcodes,
		init = first_pass,
		action = changes,
		collect = collect,
		rsync = {{
			protect_args = false, -- the peer takes no arguments
			rsh = {remote_shell},
			_extra = {options},
		}},
	}}
end

{paths}
-- lsyncd reads all its events in the kernel's order: once it has seen a name appear here, every
-- earlier change of the replicated paths is in its queue.
local function seen(event)
	if event.basename == {in_step} then
		-- What the standby is told travels as the files do.
		spawn(event, "/bin/sh", "-c", take_connection .. '"$0" "$@" || ' .. leave_connection,
			"/usr/bin/rsync", connection, "--archive", {in_step_timeout}, "--rsh", {remote_shell},
			{in_step_source}, {in_step_target})
		return
	end
	local file = io.open({seen}, "w")
	if file then
		file:write(event.basename)
		file:close()
	end
	begin_proof(event.basename)
end

-- One that does not arrive is not tried again: the next follows. And it keeps no name from being noted.
local function whatever_it_says()
	return "ok"
end
sync{{ source = {marker}, delay = 0, onCreate = seen, onModify = seen,
	maxProcesses = 2, collect = whatever_it_says }}
"""
