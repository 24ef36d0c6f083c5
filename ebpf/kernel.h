/* SPDX-License-Identifier: Dual MIT/GPL
 *
 * What the programs use of the kernel, and nothing more: fields by name, whose offsets the loader puts in for the
 * running kernel (CO-RE), and the helpers and map types of include/uapi/linux/bpf.h.
 */
#ifndef KERNEL_H
#define KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

/* The form in which a loader expects a map: each property is the type of a member. */
#define NUMBER(name, value) int (*name)[value]
#define TYPE(name, value) typeof(value) *name

enum {
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_STACK_TRACE = 7,
	BPF_MAP_TYPE_LRU_PERCPU_HASH = 10,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum { BPF_ANY, BPF_NOEXIST };

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static long (*const bpf_get_stackid)(void *ctx, void *map, u64 flags) = (void *)27;
static long (*const bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static void *(*const bpf_ringbuf_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*const bpf_ringbuf_submit)(void *data, u64 flags) = (void *)132;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	u32 inum;
};

struct net_device;

struct net {
	struct ns_common ns;
	struct net_device *loopback_dev;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	char name[16];
	int ifindex;
	possible_net_t nd_net;
};

struct inode {
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
};

struct socket {
	struct file *file;
};

struct in6_addr {
	u8 bytes[16];
};

struct sock_common {
	u32 skc_daddr;
	u32 skc_rcv_saddr;
	u16 skc_dport;
	u16 skc_num;
	u16 skc_family;
	u8 skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

typedef struct {
	u32 val;
} kuid_t;

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	kuid_t sk_uid;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	u32 data_len;
	int skb_iif;
	u16 protocol;
	u16 mac_header;
	u16 network_header;
	u32 tail;
	u8 *head;
	u8 *data;
};

struct request_sock {
	struct sock_common __req_common;
};

struct proto {
	char name[32];
	long *sysctl_mem;
};

struct neigh_table {
	int family;
};

struct neighbour {
	struct neigh_table *tbl;
	u8 nud_state;
	struct net_device *dev;
	u8 primary_key[];
};

#pragma clang attribute pop

/* Reads a field. A program that the kernel knows the argument types of (tp_btf) reads directly: a bad pointer gives 0.
 * A raw tracepoint's program asks a helper, with the same result.
 */
#ifdef RAW
#define GET(from, field)                                                                                               \
	({                                                                                                             \
		typeof((from)->field) value;                                                                           \
		bpf_probe_read_kernel(&value, sizeof(value), __builtin_preserve_access_index(&(from)->field));         \
		value;                                                                                                 \
	})
#define TRACE "raw_tp/"
#else
#define GET(from, field) ((from)->field)
#define TRACE "tp_btf/"
#endif

/* Copies a field that is no plain number. */
#define COPY(to, from, field)                                                                                          \
	bpf_probe_read_kernel(to, sizeof(*(to)), __builtin_preserve_access_index(&(from)->field))

/* Where the field lies in its structure; and whether this kernel's structure has it. */
#define OFFSET(from, field) __builtin_preserve_field_info((from)->field, 0)
#define HAS(from, field) __builtin_preserve_field_info((from)->field, 2)

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#endif
