/* A shaped link in user space: two TUN devices, one in each of two network namespaces, joined by two lanes.
 *
 *   emulator NAMESPACE_A NAMESPACE_B CAPTURE      (CAPTURE: a file for all packets in pcap format, or "" for none)
 *
 * A lane takes packets at a rate (a queue of so many bytes in front of it, what does not fit is dropped), loses some at random,
 * and gives each to the other side after a delay; some are held back longer, so that later ones overtake them. Commands come as
 * lines on standard input; each is answered by one line. The end of standard input ends the link.
 *
 *   lane N BYTES_PER_S DELAY_US QUEUE_BYTES LOSS_PPM REORDER_PPM REORDER_US     (N = 0: from A to B, 1: from B to A)
 *   cut 0|1                                                                      (1: nothing passes any more)
 *   stats                                                                        (packets bytes dropped lost late, of lane 0 and 1)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { MOST_PACKETS = 1 << 15, LARGEST_PACKET = 65536, READ_AT_ONCE = 64 };

struct packet {
    uint64_t due, serial;
    int length;
    unsigned char *data;
};

struct lane {
    struct packet heap[MOST_PACKETS]; /* a binary heap by (due, serial): packets held back are overtaken */
    int count;
    uint64_t free_at, delay, held;
    double bytes_per_ns;
    uint64_t queue_bytes, loss_ppm, reorder_ppm;
    uint64_t packets, bytes, dropped, lost, late;
};

static struct lane lanes[2];
static int devices[2], is_cut;
static uint64_t serial, chance = 88172645463325252ull;
static FILE *capture;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* xorshift64 (Marsaglia, 2003) with a fixed seed: the same losses in every run, as far as timing allows */
static int happens(uint64_t ppm) {
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return ppm > 0 && chance % 1000000ull < ppm;
}

static int is_before(const struct packet *a, const struct packet *b) {
    return a->due < b->due || (a->due == b->due && a->serial < b->serial);
}

static void push(struct lane *lane, struct packet packet) {
    int at = lane->count++;
    while (at > 0 && is_before(&packet, &lane->heap[(at - 1) / 2])) {
        lane->heap[at] = lane->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    lane->heap[at] = packet;
}

static struct packet pop(struct lane *lane) {
    struct packet first = lane->heap[0], last = lane->heap[--lane->count];
    int at = 0;
    for (;;) {
        int child = 2 * at + 1;
        if (child >= lane->count) break;
        if (child + 1 < lane->count && is_before(&lane->heap[child + 1], &lane->heap[child])) child++;
        if (!is_before(&lane->heap[child], &last)) break;
        lane->heap[at] = lane->heap[child];
        at = child;
    }
    lane->heap[at] = last;
    return first;
}

static void record(const unsigned char *data, int length) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint32_t head[4] = {(uint32_t)t.tv_sec, (uint32_t)(t.tv_nsec / 1000), (uint32_t)length, (uint32_t)length};
    fwrite(head, sizeof head, 1, capture);
    fwrite(data, (size_t)length, 1, capture);
}

static void take(struct lane *lane, const unsigned char *data, int length) {
    uint64_t at = now();
    if (capture != NULL) record(data, length);
    if (is_cut || happens(lane->loss_ppm)) {
        lane->lost++;
        return;
    }
    if (lane->free_at < at) lane->free_at = at;
    if ((double)(lane->free_at - at) * lane->bytes_per_ns + length > (double)lane->queue_bytes || lane->count == MOST_PACKETS) {
        lane->dropped++;
        return;
    }
    lane->free_at += (uint64_t)(length / lane->bytes_per_ns);
    struct packet packet = {lane->free_at + lane->delay, serial++, length, malloc((size_t)length)};
    if (packet.data == NULL) exit(1);
    memcpy(packet.data, data, (size_t)length);
    if (happens(lane->reorder_ppm)) {
        packet.due += lane->held;
        lane->late++;
    }
    lane->packets++;
    lane->bytes += (uint64_t)length;
    push(lane, packet);
}

static uint64_t deliver(uint64_t next) {
    for (int n = 0; n < 2; n++) {
        struct lane *lane = &lanes[n];
        while (lane->count > 0 && lane->heap[0].due <= now()) {
            struct packet packet = pop(lane);
            if (!is_cut && write(devices[1 - n], packet.data, (size_t)packet.length) < 0 && errno != EAGAIN) lane->lost++;
            free(packet.data);
        }
        if (lane->count > 0 && lane->heap[0].due < next) next = lane->heap[0].due;
    }
    return next;
}

static void obey(const char *line) {
    int n;
    double rate;
    unsigned long long delay, queue, loss, reorder, held;
    if (sscanf(line, "lane %d %lf %llu %llu %llu %llu %llu", &n, &rate, &delay, &queue, &loss, &reorder, &held) == 7 && (n == 0 || n == 1)) {
        lanes[n].bytes_per_ns = rate / 1e9;
        lanes[n].delay = delay * 1000;
        lanes[n].queue_bytes = queue;
        lanes[n].loss_ppm = loss;
        lanes[n].reorder_ppm = reorder;
        lanes[n].held = held * 1000;
        puts("ok");
    } else if (sscanf(line, "cut %d", &n) == 1) {
        is_cut = n;
        puts("ok");
    } else if (strncmp(line, "stats", 5) == 0) {
        for (n = 0; n < 2; n++)
            printf("%llu %llu %llu %llu %llu%c", (unsigned long long)lanes[n].packets, (unsigned long long)lanes[n].bytes,
                   (unsigned long long)lanes[n].dropped, (unsigned long long)lanes[n].lost, (unsigned long long)lanes[n].late, n ? '\n' : ' ');
    } else {
        puts("unknown");
    }
    if (capture != NULL) fflush(capture);
    fflush(stdout);
}

static void hear(void) {
    static char text[1024];
    static size_t held;
    ssize_t got = read(0, text + held, sizeof text - held - 1);
    if (got <= 0) {
        if (capture != NULL) fclose(capture);
        exit(0);
    }
    held += (size_t)got;
    text[held] = 0;
    for (char *end; (end = strchr(text, '\n')) != NULL;) {
        *end = 0;
        obey(text);
        held -= (size_t)(end + 1 - text);
        memmove(text, end + 1, held + 1);
    }
    if (held == sizeof text - 1) held = 0; /* a line longer than any command */
}

static int open_device(const char *space) {
    char path[256];
    snprintf(path, sizeof path, "/var/run/netns/%s", space);
    int file = open(path, O_RDONLY);
    if (file < 0 || setns(file, CLONE_NEWNET) != 0) {
        perror(path);
        exit(1);
    }
    close(file);
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct ifreq request;
    memset(&request, 0, sizeof request);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    strcpy(request.ifr_name, "shaped");
    if (device < 0 || ioctl(device, TUNSETIFF, &request) != 0) {
        perror("/dev/net/tun");
        exit(1);
    }
    return device;
}

int main(int count, char **words) {
    if (count != 4) {
        fprintf(stderr, "usage: emulator NAMESPACE_A NAMESPACE_B CAPTURE\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_TIMERSLACK, 1000);
    for (int n = 0; n < 2; n++) {
        devices[n] = open_device(words[1 + n]);
        lanes[n].bytes_per_ns = 0.125; /* 1 Gbit/s until told */
        lanes[n].queue_bytes = 4 << 20;
    }
    if (words[3][0] != 0) {
        const uint32_t head[6] = {0xa1b2c3d4u, 2u | 4u << 16, 0, 0, LARGEST_PACKET, 101}; /* pcap 2.4, LINKTYPE_RAW */
        capture = fopen(words[3], "wb");
        if (capture == NULL || fwrite(head, sizeof head, 1, capture) != 1) {
            perror(words[3]);
            return 1;
        }
    }
    puts("ready");
    fflush(stdout);
    static unsigned char data[LARGEST_PACKET];
    for (;;) {
        uint64_t at = now(), next = deliver(at + 1000000000ull);
        at = now();
        uint64_t wait = next > at ? next - at : 0;
        struct timespec pause = {(time_t)(wait / 1000000000ull), (long)(wait % 1000000000ull)};
        struct pollfd polled[3] = {{devices[0], POLLIN, 0}, {devices[1], POLLIN, 0}, {0, POLLIN, 0}};
        ppoll(polled, 3, &pause, NULL);
        for (int n = 0; n < 2; n++)
            for (int k = 0; (polled[n].revents & POLLIN) && k < READ_AT_ONCE; k++) {
                ssize_t length = read(devices[n], data, sizeof data);
                if (length <= 0) break;
                take(&lanes[n], data, (int)length);
            }
        if (polled[2].revents) hear();
    }
}
