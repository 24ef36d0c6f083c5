/* SPDX-License-Identifier: Dual MIT/GPL
 *
 * Hooks at which something goes wrong that no counter tells, or not whose: each its own program, each may be missing. All
 * fire seldom but net_dev_xmit, which every packet that is sent passes, and add up in one map.
 */
#include "kernel.h"
#include "pointer.h"

/* src/source/probe/hooks.rs lists them in this order. */
enum hook {
	UDP_FAIL_QUEUE_RCV_SKB,
	SOCK_EXCEED_BUF_LIMIT,
	SOCK_RCVQUEUE_FULL,
	TCP_RETRANSMIT_SKB,
	TCP_RETRANSMIT_SYNACK,
	TCP_SEND_RESET,
	XDP_EXCEPTION,
	XDP_REDIRECT_ERR,
	NET_DEV_XMIT_TIMEOUT,
	NEIGH_TIMER_HANDLER,
	NET_DEV_XMIT,
	DQL_STALL_DETECTED,
	PAGE_POOL_RELEASE,
};

struct hit {
	u64 inode; /* of the socket */
	u32 hook;
	s32 code; /* error, reason, action or queue, as the hook has it */
	u32 netns;
	u32 ifindex;
	struct in6_addr remote;
	u16 family;
	u16 port; /* of the remote end, in network order */
	u32 unused;
};

struct hits {
	u64 count;
	char name[16]; /* of the device or protocol */
};

_Static_assert(sizeof(struct hit) == 48, "hit");
_Static_assert(sizeof(struct hits) == 24, "hits");

struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_HASH);
	NUMBER(max_entries, 4096);
	TYPE(key, struct hit);
	TYPE(value, struct hits);
} hits SEC(".maps");

/* Hits without room in `hits`, by hook. */
struct {
	NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	NUMBER(max_entries, 16);
	TYPE(key, u32);
	TYPE(value, u64);
} unkept SEC(".maps");

/* `name` has 16 bytes, or is none. */
INLINE int add(struct hit *hit, const char *name)
{
	struct hits *here = bpf_map_lookup_elem(&hits, hit);
	if (!here) {
		struct hits first = {};
		if (name)
			bpf_probe_read_kernel(first.name, sizeof(first.name), name);
		bpf_map_update_elem(&hits, hit, &first, BPF_NOEXIST);
		here = bpf_map_lookup_elem(&hits, hit);
	}
	u32 hook = hit->hook;
	u64 *count = here ? &here->count : bpf_map_lookup_elem(&unkept, &hook);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

#define NAME_OF(from) ((const char *)__builtin_preserve_access_index(&(from)->name))

INLINE void remote(struct hit *hit, const struct sock_common *end)
{
	hit->family = GET(end, skc_family);
	hit->port = GET(end, skc_dport);
	if (hit->family == 2) /* AF_INET */
		COPY((u32 *)&hit->remote, end, skc_daddr);
	else if (hit->family == 10 && HAS(end, skc_v6_daddr)) /* AF_INET6 */
		COPY(&hit->remote, end, skc_v6_daddr);
}

INLINE void socket(struct hit *hit, struct sock *sk)
{
	if (!is_full(sk))
		return;
	hit->inode = inode_of(sk);
	struct net *net = GET(sk, __sk_common.skc_net.net);
	if (net)
		hit->netns = GET(net, ns.inum);
}

INLINE void device(struct hit *hit, struct net_device *dev)
{
	hit->ifindex = GET(dev, ifindex);
	struct net *net = GET(dev, nd_net.net);
	if (net)
		hit->netns = GET(net, ns.inum);
}

/* int rc, struct sock *sk (, struct sk_buff *skb) */
SEC("tp_btf/udp_fail_queue_rcv_skb") int udp_fail(u64 *args)
{
	struct hit hit = { .hook = UDP_FAIL_QUEUE_RCV_SKB, .code = (int)args[0] };
	socket(&hit, (void *)args[1]);
	return add(&hit, 0);
}

/* struct sock *sk, struct proto *prot, long allocated, int kind
 *
 * The code: 1 for receiving, and 2 if the protocol is below the first of its limits (tcp_mem, udp_mem): then it was the
 * socket's memory cgroup that refused (net/core/sock.c __sk_mem_raise_allocated()).
 */
SEC("tp_btf/sock_exceed_buf_limit") int exceed(u64 *args)
{
	struct hit hit = { .hook = SOCK_EXCEED_BUF_LIMIT, .code = (int)args[3] };
	struct proto *prot = (void *)args[1];
	long low = 0;
	long *limits = GET(prot, sysctl_mem);
	if (!bpf_probe_read_kernel(&low, sizeof(low), limits) && (long)args[2] < low)
		hit.code |= 2;
	socket(&hit, (void *)args[0]);
	return add(&hit, NAME_OF(prot));
}

/* struct sock *sk, struct sk_buff *skb */
SEC("tp_btf/sock_rcvqueue_full") int queue_full(u64 *args)
{
	struct hit hit = { .hook = SOCK_RCVQUEUE_FULL };
	socket(&hit, (void *)args[0]);
	return add(&hit, 0);
}

INLINE int retransmit(struct sock *sk, int error)
{
	struct hit hit = { .hook = TCP_RETRANSMIT_SKB, .code = error };
	socket(&hit, sk);
	remote(&hit, &sk->__sk_common);
	return add(&hit, 0);
}

/* const struct sock *sk, const struct sk_buff *skb (, int err) */
SEC("tp_btf/tcp_retransmit_skb") int retransmit2(u64 *args)
{
	return retransmit((void *)args[0], 0);
}

SEC("tp_btf/tcp_retransmit_skb") int retransmit3(u64 *args)
{
	return retransmit((void *)args[0], (int)args[2]);
}

/* const struct sock *sk, const struct request_sock *req */
SEC("tp_btf/tcp_retransmit_synack") int synack(u64 *args)
{
	struct request_sock *request = (void *)args[1];
	struct hit hit = { .hook = TCP_RETRANSMIT_SYNACK };
	socket(&hit, (void *)args[0]);
	remote(&hit, &request->__req_common);
	return add(&hit, 0);
}

/* The socket and the packet may each be missing. */
INLINE int reset(struct sock *sk, struct sk_buff *skb, int reason)
{
	struct hit hit = { .hook = TCP_SEND_RESET, .code = reason };
	if (skb) {
		struct net_device *dev = device_of(skb);
		if (dev)
			device(&hit, dev);
	}
	if (sk)
		socket(&hit, sk);
	return add(&hit, 0);
}

/* const struct sock *sk, const struct sk_buff *skb (, enum sk_rst_reason reason) */
SEC("tp_btf/tcp_send_reset") int reset2(u64 *args)
{
	return reset((void *)args[0], (void *)args[1], 0);
}

SEC("tp_btf/tcp_send_reset") int reset3(u64 *args)
{
	return reset((void *)args[0], (void *)args[1], (int)args[2]);
}

/* const struct net_device *dev, const struct bpf_prog *prog, u32 act */
SEC("tp_btf/xdp_exception") int xdp_bad(u64 *args)
{
	struct net_device *dev = (void *)args[0];
	struct hit hit = { .hook = XDP_EXCEPTION, .code = (int)args[2] };
	device(&hit, dev);
	return add(&hit, NAME_OF(dev));
}

/* const struct net_device *dev, const struct bpf_prog *prog, const void *target, int err, ... */
SEC("tp_btf/xdp_redirect_err") int xdp_redirect(u64 *args)
{
	struct net_device *dev = (void *)args[0];
	struct hit hit = { .hook = XDP_REDIRECT_ERR, .code = (int)args[3] };
	device(&hit, dev);
	return add(&hit, NAME_OF(dev));
}

/* struct net_device *dev, int queue_index */
SEC("tp_btf/net_dev_xmit_timeout") int timeout(u64 *args)
{
	struct net_device *dev = (void *)args[0];
	struct hit hit = { .hook = NET_DEV_XMIT_TIMEOUT, .code = (int)args[1] };
	device(&hit, dev);
	return add(&hit, NAME_OF(dev));
}

/* struct neighbour *n, int err: fires at every step of a resolution; NUD_FAILED (0x20) is the last one. */
SEC("tp_btf/neigh_timer_handler") int neighbour(u64 *args)
{
	struct neighbour *neighbour = (void *)args[0];
	if (GET(neighbour, nud_state) != 0x20)
		return 0;
	struct hit hit = { .hook = NEIGH_TIMER_HANDLER };
	struct net_device *dev = GET(neighbour, dev);
	if (!dev)
		return 0;
	device(&hit, dev);
	struct neigh_table *table = GET(neighbour, tbl);
	hit.family = table ? GET(table, family) : 0;
	const u8 *key = (const u8 *)neighbour + OFFSET(neighbour, primary_key);
	if (hit.family == 2)
		bpf_probe_read_kernel(&hit.remote, 4, key);
	else if (hit.family == 10)
		bpf_probe_read_kernel(&hit.remote, 16, key);
	return add(&hit, NAME_OF(dev));
}

/* struct sk_buff *skb, int rc, struct net_device *dev, unsigned int len. The driver may have freed the packet already. */
SEC("tp_btf/net_dev_xmit") int transmit(u64 *args)
{
	int code = (int)args[1];
	if (code == 0) /* NETDEV_TX_OK */
		return 0;
	struct net_device *dev = (void *)args[2];
	struct hit hit = { .hook = NET_DEV_XMIT, .code = code };
	device(&hit, dev);
	return add(&hit, NAME_OF(dev));
}

/* unsigned short threshold, ...: of which queue it does not say (lib/dynamic_queue_limits.c dql_check_stall()). */
SEC("tp_btf/dql_stall_detected") int stall(u64 *args)
{
	struct hit hit = { .hook = DQL_STALL_DETECTED, .code = (u16)args[0] };
	return add(&hit, 0);
}

/* const struct page_pool *pool, s32 inflight, u32 hold, u32 release: as a pool is destroyed, and again each second while
 * pages of it are missing (net/core/page_pool.c page_pool_release_retry()).
 */
SEC("tp_btf/page_pool_release") int pool(u64 *args)
{
	struct hit hit = { .hook = PAGE_POOL_RELEASE, .code = (int)args[1] };
	return hit.code > 0 ? add(&hit, 0) : 0;
}
