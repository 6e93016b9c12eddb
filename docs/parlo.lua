-- Wireshark reads Parlo: the outer layer of its datagrams, as in docs/wire.md. What is inside is sealed.
--
-- Copy this file into Wireshark's folder of personal Lua plugins (Help > About Wireshark > Folders), or name it:
--     tshark -X lua_script:docs/parlo.lua -r calls.pcap
-- Port 7275 is read as Parlo (Preferences > Protocols > PARLO has another); on other ports, what begins as a handshake does
-- is, and from then on all of the same conversation.

local parlo = Proto("parlo", "Parlo voice call")

local KINDS = {
    [0x40] = "Control", [0x41] = "Initiate", [0x42] = "Retry", [0x43] = "Respond", [0x44] = "Finish", [0x45] = "Refuse",
    [0x50] = "Relay join", [0x51] = "Relay retry", [0x52] = "Relay joined", [0x53] = "Relay error",
}
local PATTERNS = {
    [1] = "IK: the listener's key is known", [2] = "XX: no key is known",
    [3] = "IKpsk2: the key is known, and a secret is shared",
}
local REASONS = { [1] = "busy", [2] = "no shared codec", [3] = "other version", [4] = "declined", [5] = "other key", [6] = "no shared secret" }

local VERSION, COOKIE, TAG = 3, 16, 8
local MOST = 1200

local field = {
    kind = ProtoField.uint8("parlo.kind", "Kind", base.HEX, KINDS),
    media = ProtoField.bool("parlo.media", "Media", 8, nil, 0x80),
    extended = ProtoField.bool("parlo.extended", "Extension inside", 8, nil, 0x40),
    report = ProtoField.bool("parlo.report", "Report inside", 8, nil, 0x20),
    depth_less_one = ProtoField.uint8("parlo.depth_less_one", "Depth less one", base.DEC, nil, 0x1F),
    depth = ProtoField.uint8("parlo.depth", "Depth", base.DEC),
    version = ProtoField.uint8("parlo.version", "Version", base.DEC),
    receiver = ProtoField.uint16("parlo.receiver", "Receiver's index", base.HEX),
    sender = ProtoField.uint16("parlo.sender", "Sender's index", base.HEX),
    number = ProtoField.uint16("parlo.number", "Number (lower 16 bits)", base.DEC),
    pattern = ProtoField.uint8("parlo.pattern", "Handshake", base.DEC, PATTERNS),
    cookie = ProtoField.bytes("parlo.cookie", "Cookie"),
    noise = ProtoField.bytes("parlo.noise", "Noise message"),
    reason = ProtoField.uint8("parlo.reason", "Reason", base.DEC, REASONS),
    sealed = ProtoField.bytes("parlo.sealed", "Sealed"),
    sealed_bytes = ProtoField.uint16("parlo.sealed_bytes", "Sealed bytes", base.DEC),
    tag = ProtoField.bytes("parlo.tag", "Tag"),
    rest = ProtoField.bytes("parlo.rest", "Not read"),
}
parlo.fields = {}
for _, one in pairs(field) do table.insert(parlo.fields, one) end

local short = ProtoExpert.new("parlo.short", "Not a whole datagram", expert.group.MALFORMED, expert.severity.ERROR)
local other = ProtoExpert.new("parlo.other", "Another version", expert.group.PROTOCOL, expert.severity.NOTE)
parlo.experts = { short, other }

parlo.prefs.port = Pref.uint("UDP port", 7275, "Port whose datagrams are Parlo's")

-- Header of a media or control packet, and what it seals.
local function sealed(bytes, tree)
    tree:add(field.receiver, bytes(1, 2))
    tree:add(field.number, bytes(3, 2))
    local length = bytes:len() - 5 - TAG
    if length > 0 then tree:add(field.sealed, bytes(5, length)) end
    tree:add(field.sealed_bytes, bytes(5, length), length):set_generated()
    tree:add(field.tag, bytes(bytes:len() - TAG, TAG))
    return string.format("to %04x, number %d, %d bytes sealed", bytes(1, 2):uint(), bytes(3, 2):uint(), length)
end

local function media(bytes, tree)
    local first = bytes(0, 1)
    tree:add(field.media, first)
    tree:add(field.extended, first)
    tree:add(field.report, first)
    tree:add(field.depth_less_one, first)
    local depth = first:bitfield(3, 5) + 1
    tree:add(field.depth, first, depth):set_generated()
    local rides = (first:bitfield(1, 1) == 1 and ", extended" or "") .. (first:bitfield(2, 1) == 1 and ", report" or "")
    return string.format("Media, depth %d%s, %s", depth, rides, sealed(bytes, tree))
end

-- Each reads what follows kind and version, and tells what to write in the list.
local read = {
    [0x41] = function(bytes, tree)
        tree:add(field.sender, bytes(2, 2))
        tree:add(field.pattern, bytes(4, 1))
        tree:add(field.cookie, bytes(5, COOKIE))
        tree:add(field.noise, bytes(5 + COOKIE))
        local shown = bytes(5, COOKIE):bytes():tohex():match("^0*$") and "no cookie" or "cookie shown"
        local pattern = ({ "IK", "XX", "IKpsk2" })[bytes(4, 1):uint()] or "unknown"
        return string.format("Initiate %s from %04x, %s", pattern, bytes(2, 2):uint(), shown)
    end,
    [0x42] = function(bytes, tree)
        tree:add(field.receiver, bytes(2, 2))
        tree:add(field.cookie, bytes(4, COOKIE))
        return string.format("Retry to %04x", bytes(2, 2):uint())
    end,
    [0x43] = function(bytes, tree)
        tree:add(field.receiver, bytes(2, 2))
        tree:add(field.sender, bytes(4, 2))
        tree:add(field.noise, bytes(6))
        return string.format("Respond to %04x from %04x", bytes(2, 2):uint(), bytes(4, 2):uint())
    end,
    [0x44] = function(bytes, tree)
        tree:add(field.receiver, bytes(2, 2))
        tree:add(field.noise, bytes(4))
        return string.format("Finish to %04x", bytes(2, 2):uint())
    end,
    [0x45] = function(bytes, tree)
        tree:add(field.receiver, bytes(2, 2))
        tree:add(field.reason, bytes(4, 1))
        local reason = REASONS[bytes(4, 1):uint()] or ("reason " .. bytes(4, 1):uint())
        return string.format("Refuse to %04x: %s", bytes(2, 2):uint(), reason)
    end,
}

-- Lengths that datagrams of the kinds can have.
local LENGTHS = {
    [0x40] = { 5 + TAG, MOST }, [0x41] = { 53, 373 }, [0x42] = { 20, 20 }, [0x43] = { 54, 119 }, [0x44] = { 68, 324 },
    [0x45] = { 5, 5 },
}

local function fits(bytes)
    local kind, length = bytes(0, 1):uint(), bytes:len()
    if kind >= 0x80 then return length >= 5 + TAG and length <= MOST end
    local lengths = LENGTHS[kind]
    if lengths then return length >= lengths[1] and length <= lengths[2] end
    return KINDS[kind] ~= nil
end

function parlo.dissector(buffer, packet, root)
    local length = buffer:len()
    if length == 0 or buffer(0, 1):uint() < 0x40 then return 0 end
    local bytes, kind = buffer(), buffer(0, 1):uint()
    packet.cols.protocol = "Parlo"
    local tree = root:add(parlo, bytes)
    if not fits(bytes) then
        tree:add_proto_expert_info(short)
        packet.cols.info = string.format("%s, %d bytes?", KINDS[kind] or (kind >= 0x80 and "Media" or "Unknown"), length)
        return length
    end
    local text
    if kind >= 0x80 then
        text = media(bytes, tree)
    else
        tree:add(field.kind, bytes(0, 1))
        if kind == 0x40 then
            text = "Control, " .. sealed(bytes, tree)
        elseif read[kind] then
            tree:add(field.version, bytes(1, 1))
            if bytes(1, 1):uint() ~= VERSION and kind ~= 0x45 then
                tree:add_proto_expert_info(other)
                text = string.format("%s of version %d", KINDS[kind], bytes(1, 1):uint())
            else
                text = read[kind](bytes, tree)
            end
        else
            if length > 1 then tree:add(field.rest, bytes(1)) end
            text = KINDS[kind]
        end
    end
    tree:append_text(": " .. text)
    packet.cols.info = text
    return length
end

-- On any port: only what begins a call, as sealed packets look like anything.
local function heuristic(buffer, packet, root)
    if buffer:len() < 5 then return false end
    local kind = buffer(0, 1):uint()
    if kind < 0x41 or kind > 0x44 or buffer(1, 1):uint() ~= VERSION or not fits(buffer()) then return false end
    if kind == 0x41 and not PATTERNS[buffer(4, 1):uint()] then return false end
    packet.conversation = parlo
    parlo.dissector(buffer, packet, root)
    return true
end
parlo:register_heuristic("udp", heuristic)

local table_of_ports = DissectorTable.get("udp.port")
local port = 0
local function listen()
    if port ~= 0 then table_of_ports:remove(port, parlo) end
    port = parlo.prefs.port
    if port ~= 0 then table_of_ports:add(port, parlo) end
end
listen()
parlo.prefs_changed = listen
