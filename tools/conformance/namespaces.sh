#!/usr/bin/env bash
# Two network namespaces, joined by a cable with a bottleneck, and a command in each: a call over a bad network of the
# kernel's own, rather than over an emulated one.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: namespaces.sh [options] -- COMMAND_A [ARGUMENT ...] -- COMMAND_B [ARGUMENT ...]

Runs COMMAND_A in one network namespace and COMMAND_B in another. They reach each other at $ADDRESS_A (10.77.0.1) and
$ADDRESS_B (10.77.0.2), and by IPv6 at fd77::1 and fd77::2; both names are in their environment. When B ends, A is asked to
(Ctrl-C, and after 5 s killed); the exit status is B's. Needs root, iproute2, and Linux with veth and tbf.

  --rate RATE    bottleneck each way, as tc has it: 8kbit, 1mbit (none by default)
  --queue TIME   the bottleneck's longest queue (500ms); a packet longer than all of it never passes
  --loss PART    with the kernel's netem: lose this part each way, 10%
  --delay TIME   with the kernel's netem: delay each way, 50ms
  --wait TIME    start B so long after A, in seconds (0.5)
  --probe        say what this kernel has, and end
TEXT
}

fail() {
    echo "namespaces.sh: $1" >&2
    exit 2
}

rate="" queue=500ms loss="" delay="" wait=0.5 probe=no
while (($#)); do
    case $1 in
    --rate | --queue | --loss | --delay | --wait)
        (($# > 1)) || fail "$1 needs a value"
        declare "${1#--}=$2"
        shift 2
        ;;
    --probe) probe=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    --) shift && break ;;
    *) fail "what is $1? --help says what there is" ;;
    esac
done

command_a=()
while (($#)) && [[ $1 != -- ]]; do
    command_a+=("$1")
    shift
done
(($# == 0)) || shift
command_b=("$@")
[[ $probe == yes || (${#command_a[@]} -gt 0 && ${#command_b[@]} -gt 0) ]] || fail "give two commands, each after a --; --help says more"

[[ $(id -u) == 0 ]] || fail "namespaces and queues need root: run this with sudo"
command -v ip >/dev/null && command -v tc >/dev/null || fail "ip and tc are not here: install iproute2"

a="parlo-a-$$" b="parlo-b-$$" pid_a=""
cleanup() {
    trap - EXIT
    if [[ -n $pid_a ]]; then
        kill -INT -- "-$pid_a" 2>/dev/null || true
        for _ in {1..50}; do
            kill -0 "$pid_a" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL -- "-$pid_a" 2>/dev/null || true
        wait "$pid_a" 2>/dev/null || true
    fi
    # The cable goes with the first of them.
    ip netns delete "$a" 2>/dev/null || true
    ip netns delete "$b" 2>/dev/null || true
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ip netns add "$a" || fail "this system gives no network namespaces (in a container, it must be privileged)"
ip netns add "$b"
ip -n "$a" link add cable type veth peer name cable netns "$b" || fail "this kernel has no veth"
number=1
for space in "$a" "$b"; do
    ip -n "$space" link set lo up
    # IPv6 addresses are used at once, without asking around for others who have them.
    ip netns exec "$space" sysctl -q -w net.ipv6.conf.cable.accept_dad=0 2>/dev/null || true
    ip -n "$space" address add "10.77.0.$number/24" dev cable
    ip -n "$space" address add "fd77::$number/64" dev cable nodad 2>/dev/null || true
    ip -n "$space" link set cable mtu 1280 up
    number=2
done

has() {
    tc -n "$a" qdisc add dev cable root "$@" 2>/dev/null && tc -n "$a" qdisc delete dev cable root
}
if [[ $probe == yes ]]; then
    has tbf rate 8kbit burst 1300 limit 500 && echo "tbf: yes" || echo "tbf: no"
    has netem delay 1ms && echo "netem: yes" || echo "netem: no"
    exit 0
fi

# Bytes of a queue: bits per second times seconds, over eight.
limit=$(awk -v rate="$rate" -v queue="$queue" 'BEGIN {
    split("bit 1 kbit 1e3 mbit 1e6 gbit 1e9 s 1 ms 1e-3 us 1e-6", words, " ")
    for (n = 1; n in words; n += 2) unit[words[n]] = words[n + 1]
    match(rate, /[a-z]+$/); r = rate + 0; r *= unit[substr(rate, RSTART)]
    match(queue, /[a-z]+$/); q = queue + 0; q *= unit[substr(queue, RSTART)]
    printf "%d", r * q / 8
}')
[[ -z $rate ]] || ((limit > 0)) || fail "what are --rate $rate and --queue $queue? Give 8kbit, 1mbit; 500ms, 1s"

netem=()
[[ -z $loss ]] || netem+=(loss "$loss")
[[ -z $delay ]] || netem+=(delay "$delay")
if ((${#netem[@]})); then
    has netem "${netem[@]}" || fail "this kernel has no netem: leave out --loss and --delay, or put \`parlo impair\` between"
fi
for space in "$a" "$b"; do
    handle=(root)
    if ((${#netem[@]})); then
        tc -n "$space" qdisc add dev cable root handle 1: netem "${netem[@]}"
        handle=(parent 1:)
    fi
    if [[ -n $rate ]]; then
        # The bucket must hold one whole packet of the cable (1280 bytes and 14 of Ethernet), or none of that size would ever
        # pass. So that much may pass at once after a pause. The queue is given in bytes: tbf's own "latency" adds the
        # bucket to it, 1.3 s at 8 kbit/s.
        tc -n "$space" qdisc add dev cable "${handle[@]}" tbf rate "$rate" burst 1300 limit "$limit"
    fi
done

export ADDRESS_A=10.77.0.1 ADDRESS_B=10.77.0.2
# In a process group of its own: in the shell's, it would ignore Ctrl-C.
set -m
ip netns exec "$a" "${command_a[@]}" &
pid_a=$!
set +m
sleep "$wait"
status=0
ip netns exec "$b" "${command_b[@]}" || status=$?
if [[ -n $rate ]]; then
    for space in "$a" "$b"; do
        tc -n "$space" -s qdisc show dev cable | sed -n "s/^ *Sent/${space%-*}: sent/p" >&2
    done
fi
exit "$status"
