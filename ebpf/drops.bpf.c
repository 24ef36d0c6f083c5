/* SPDX-License-Identifier: Dual MIT/GPL
 *
 * Every packet that the kernel frees as dropped (tracepoint skb:kfree_skb), added up in the kernel: no event leaves it
 * unless a stream was asked for.
 *
 * The totals stay right whatever happens: a drop for which `drops` has no room is counted in `unkept` by its reason, so
 * that only the detail is lost. `victims` and `flows` hold the same drops once more, by socket and by addresses.
 */
#include "kernel.h"
#include "pointer.h"

#define NAME 16 /* IFNAMSIZ */
#define SNAP 256 /* bytes of a packet in the stream, at most */
#define NO_OFFSET 0xffff /* ~0 in an offset of struct sk_buff: not set */
#define SLOT 1000000000 /* ns: the stream's pace is so many events a slot and CPU */

/* Set by the loader. */
const volatile u8 keep_flows;
const volatile u8 keep_stacks;
/* Events a slot and CPU; 0: no stream. Only this reason and namespace, unless 0. */
const volatile u32 pace;
const volatile u32 only_reason;
const volatile u32 only_netns;

/* What is told apart. */
struct drop {
	u64 location; /* the instruction after the call that freed it */
	u32 reason;
	u32 netns; /* inode */
	u32 ifindex;
	s32 stack;
	u16 l3; /* EtherType, in network order */
	u8 l4;
	u8 came_in; /* it had passed the receive path of a device */
	u32 unused;
};

struct count {
	u64 packets;
	char device[NAME];
};

struct victim {
	struct drop drop;
	u64 inode;
};

struct victim_count {
	u64 packets;
	u32 uid;
	u16 family;
	u16 local_port; /* in the CPU's order */
	u16 remote_port; /* in network order */
	u16 unused[3];
	struct in6_addr local, remote;
};

struct flow {
	struct drop drop;
	struct in6_addr from, to;
	u16 from_port, to_port; /* in network order */
	u32 unused;
};

struct event {
	struct drop drop;
	u64 time;
	u64 inode;
	char device[NAME];
	u32 length; /* of the packet, from its link header on if it has one */
	u16 captured; /* bytes of it in `data` */
	u16 link; /* the part of them that is its link header */
	u8 data[SNAP];
};

/* src/source/probe/drops.rs reads them so. */
_Static_assert(sizeof(struct drop) == 32, "drop");
_Static_assert(sizeof(struct count) == 24, "count");
_Static_assert(sizeof(struct victim) == 40, "victim");
_Static_assert(sizeof(struct victim_count) == 56, "victim_count");
_Static_assert(sizeof(struct flow) == 72, "flow");

struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_HASH);
	NUMBER(max_entries, 4096);
	TYPE(key, struct drop);
	TYPE(value, struct count);
} drops SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_HASH);
	NUMBER(max_entries, 2048);
	TYPE(key, struct victim);
	TYPE(value, struct victim_count);
} victims SEC(".maps");

/* The least recently hit makes room: what floods stays. */
struct {
	NUMBER(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	NUMBER(max_entries, 8192);
	TYPE(key, struct flow);
	TYPE(value, u64);
} flows SEC(".maps");

/* Drops without room in `drops`, by reason: 256 for each of the first four subsystems (reason >> 16). */
struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	NUMBER(max_entries, 1024);
	TYPE(key, u32);
	TYPE(value, u64);
} unkept SEC(".maps");

/* Drops of a socket that has no room in `victims`; events that had none in the stream, or were beyond its pace. */
enum { WITHOUT_VICTIM, LEFT_OUT, SPENT_SLOT, SPENT, SUMS };
struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	NUMBER(max_entries, SUMS);
	TYPE(key, u32);
	TYPE(value, u64);
} sums SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_STACK_TRACE);
	NUMBER(max_entries, 2048);
	TYPE(key, u32);
	u64 (*value)[127];
} stacks SEC(".maps");

struct {
	NUMBER(type, BPF_MAP_TYPE_RINGBUF);
	NUMBER(max_entries, 1 << 20);
} events SEC(".maps");

INLINE void add(void *array, u32 at)
{
	u64 *sum = bpf_map_lookup_elem(array, &at);
	if (sum)
		__sync_fetch_and_add(sum, 1);
}

INLINE void describe(struct victim_count *victim, struct sock *sk)
{
	victim->uid = GET(sk, sk_uid.val);
	victim->family = GET(sk, __sk_common.skc_family);
	victim->local_port = GET(sk, __sk_common.skc_num);
	victim->remote_port = GET(sk, __sk_common.skc_dport);
	if (victim->family == 2) { /* AF_INET */
		COPY((u32 *)&victim->local, sk, __sk_common.skc_rcv_saddr);
		COPY((u32 *)&victim->remote, sk, __sk_common.skc_daddr);
	} else if (victim->family == 10 && HAS(sk, __sk_common.skc_v6_daddr)) { /* AF_INET6 */
		COPY(&victim->local, sk, __sk_common.skc_v6_rcv_saddr);
		COPY(&victim->remote, sk, __sk_common.skc_v6_daddr);
	}
}

/* True if the stream has a place for one more now. */
INLINE int in_pace(void)
{
	u32 at = SPENT_SLOT;
	u64 *slot = bpf_map_lookup_elem(&sums, &at);
	at = SPENT;
	u64 *spent = bpf_map_lookup_elem(&sums, &at);
	if (!slot || !spent)
		return 0;
	u64 now = bpf_ktime_get_ns() / SLOT;
	if (*slot != now) {
		*slot = now;
		*spent = 0;
	}
	if (*spent >= pace)
		return 0;
	*spent += 1;
	return 1;
}

INLINE void tell(struct sk_buff *skb, struct drop *drop, struct net_device *dev, u64 inode, u8 *head, u16 network)
{
	if ((only_reason && only_reason != drop->reason) || (only_netns && only_netns != drop->netns))
		return;
	struct event *event = in_pace() ? bpf_ringbuf_reserve(&events, sizeof(*event), 0) : 0;
	if (!event) {
		add(&sums, LEFT_OUT);
		return;
	}
	event->drop = *drop;
	event->time = bpf_ktime_get_ns();
	event->inode = inode;
	__builtin_memset(event->device, 0, NAME);
	if (dev)
		COPY(&event->device, dev, name);
	u16 mac = GET(skb, mac_header);
	u32 start = mac != NO_OFFSET && mac < network && network - mac <= 64 ? mac : network;
	u32 end = GET(skb, tail);
	u32 linear = end > start ? end - start : 0;
	event->length = linear + GET(skb, data_len);
	event->link = network - start;
	u32 captured = linear > SNAP ? SNAP : linear;
	asm volatile("" : "+r"(captured));
	if (captured > SNAP || bpf_probe_read_kernel(event->data, captured, head + start))
		captured = 0;
	event->captured = captured;
	bpf_ringbuf_submit(event, 0);
}

INLINE int count(void *ctx, struct sk_buff *skb, u64 location, u32 reason, struct sock *sk)
{
	struct drop drop = { .location = location, .reason = reason };
	struct net_device *dev = device_of(skb);
	int iif = GET(skb, skb_iif);
	drop.ifindex = iif;
	drop.came_in = iif != 0;
	drop.l3 = GET(skb, protocol);

	if (!sk)
		sk = GET(skb, sk);
	u64 inode = 0;
	int full = is_full(sk);
	if (full)
		inode = inode_of(sk);
	struct net *net = 0;
	if (dev) {
		drop.ifindex = GET(dev, ifindex);
		net = GET(dev, nd_net.net);
	} else if (full) {
		net = GET(sk, __sk_common.skc_net.net);
	}
	if (net)
		drop.netns = GET(net, ns.inum);

	u8 *head = GET(skb, head);
	u16 network = GET(skb, network_header);
	/* Not set yet between driver and stack: then the packet's data begins there. */
	if (!network || network == NO_OFFSET)
		network = GET(skb, data) - head;
	/* Without flows, version and protocol are enough: the shorter read is the cheaper one. */
	u8 ip[40];
	int version = 0;
	if (drop.l3 == 0x0008 || drop.l3 == 0xdd86) { /* ETH_P_IP, ETH_P_IPV6 */
		bpf_probe_read_kernel(ip, keep_flows ? 40 : 16, head + network);
		version = ip[0] >> 4;
		drop.l4 = version == 4 ? ip[9] : version == 6 ? ip[6] : 0;
	}
	if (keep_stacks)
		drop.stack = bpf_get_stackid(ctx, &stacks, 0);

	struct count *here = bpf_map_lookup_elem(&drops, &drop);
	if (!here) {
		struct count first = {};
		if (dev)
			COPY(&first.device, dev, name);
		bpf_map_update_elem(&drops, &drop, &first, BPF_NOEXIST);
		/* Another CPU may have been first; or there is no room. */
		here = bpf_map_lookup_elem(&drops, &drop);
	}
	if (here) {
		__sync_fetch_and_add(&here->packets, 1);
	} else {
		u32 subsystem = reason >> 16, number = reason & 0xffff;
		add(&unkept, (subsystem > 3 ? 3 : subsystem) << 8 | (number > 255 ? 255 : number));
	}

	if (inode) {
		struct victim victim = { .drop = drop, .inode = inode };
		struct victim_count *its = bpf_map_lookup_elem(&victims, &victim);
		if (!its) {
			struct victim_count first = {};
			describe(&first, sk);
			bpf_map_update_elem(&victims, &victim, &first, BPF_NOEXIST);
			its = bpf_map_lookup_elem(&victims, &victim);
		}
		if (its)
			__sync_fetch_and_add(&its->packets, 1);
		else
			add(&sums, WITHOUT_VICTIM);
	}

	if (keep_flows && version) {
		struct flow flow = { .drop = drop };
		u32 ports;
		if (version == 4) {
			__builtin_memcpy(&flow.from, ip + 12, 4);
			__builtin_memcpy(&flow.to, ip + 16, 4);
			ports = network + (ip[0] & 15) * 4;
		} else {
			__builtin_memcpy(&flow.from, ip + 8, 16);
			__builtin_memcpy(&flow.to, ip + 24, 16);
			ports = network + 40;
		}
		/* TCP, UDP, DCCP, SCTP, UDP-Lite begin with both ports; a later fragment begins with anything. */
		int fragment = version == 4 && ((ip[6] & 0x1f) | ip[7]);
		if (!fragment && (drop.l4 == 6 || drop.l4 == 17 || drop.l4 == 33 || drop.l4 == 132 || drop.l4 == 136))
			bpf_probe_read_kernel(&flow.from_port, 4, head + ports);
		u64 *its = bpf_map_lookup_elem(&flows, &flow);
		if (!its) {
			u64 first = 0;
			bpf_map_update_elem(&flows, &flow, &first, BPF_NOEXIST);
			its = bpf_map_lookup_elem(&flows, &flow);
		}
		if (its)
			__sync_fetch_and_add(its, 1);
	}
	if (pace)
		tell(skb, &drop, dev, inode, head, network);
	return 0;
}

/* The argument list grew with the kernels; the loader takes the program that fits the running one's. */
SEC(TRACE "kfree_skb") int drop2(u64 *args)
{
	return count(args, (void *)args[0], args[1], 0, 0);
}

SEC(TRACE "kfree_skb") int drop3(u64 *args)
{
	return count(args, (void *)args[0], args[1], args[2], 0);
}

SEC(TRACE "kfree_skb") int drop4(u64 *args)
{
	return count(args, (void *)args[0], args[1], args[2], (void *)args[3]);
}
