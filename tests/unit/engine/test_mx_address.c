/*
 * test_mx_address.c - which addresses mail may be sent to, at the edges of each block.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <netinet/in.h>

#include <cmocka.h>

#include "engine/net/mx_address.h"

static const struct {
    const char *text;
    enum mx_address_kind kind;
} table[] = {
    {"0.0.0.0", MX_ADDRESS_PRIVATE},
    {"0.255.255.255", MX_ADDRESS_PRIVATE},
    {"1.0.0.0", MX_ADDRESS_PUBLIC},
    {"9.255.255.255", MX_ADDRESS_PUBLIC},
    {"10.0.0.0", MX_ADDRESS_PRIVATE},
    {"10.255.255.255", MX_ADDRESS_PRIVATE},
    {"11.0.0.0", MX_ADDRESS_PUBLIC},
    {"100.63.255.255", MX_ADDRESS_PUBLIC},
    {"100.64.0.0", MX_ADDRESS_PRIVATE},
    {"100.127.255.255", MX_ADDRESS_PRIVATE},
    {"100.128.0.0", MX_ADDRESS_PUBLIC},
    {"126.255.255.255", MX_ADDRESS_PUBLIC},
    {"127.0.0.1", MX_ADDRESS_PRIVATE},
    {"127.255.255.255", MX_ADDRESS_PRIVATE},
    {"128.0.0.0", MX_ADDRESS_PUBLIC},
    {"169.253.255.255", MX_ADDRESS_PUBLIC},
    {"169.254.169.254", MX_ADDRESS_PRIVATE},
    {"169.255.0.0", MX_ADDRESS_PUBLIC},
    {"172.15.255.255", MX_ADDRESS_PUBLIC},
    {"172.16.0.0", MX_ADDRESS_PRIVATE},
    {"172.31.255.255", MX_ADDRESS_PRIVATE},
    {"172.32.0.0", MX_ADDRESS_PUBLIC},
    {"192.0.0.8", MX_ADDRESS_PRIVATE},
    {"192.0.1.0", MX_ADDRESS_PUBLIC},
    {"192.167.255.255", MX_ADDRESS_PUBLIC},
    {"192.168.0.0", MX_ADDRESS_PRIVATE},
    {"192.169.0.0", MX_ADDRESS_PUBLIC},
    {"198.17.255.255", MX_ADDRESS_PUBLIC},
    {"198.18.0.0", MX_ADDRESS_PRIVATE},
    {"198.19.255.255", MX_ADDRESS_PRIVATE},
    {"198.20.0.0", MX_ADDRESS_PUBLIC},
    {"223.255.255.255", MX_ADDRESS_PUBLIC},
    {"224.0.0.1", MX_ADDRESS_NEVER},
    {"239.255.255.255", MX_ADDRESS_NEVER},
    {"240.0.0.0", MX_ADDRESS_NEVER},
    {"255.255.255.255", MX_ADDRESS_NEVER},
    {"::", MX_ADDRESS_PRIVATE},
    {"::1", MX_ADDRESS_PRIVATE},
    {"::7f00:1", MX_ADDRESS_PRIVATE},
    {"::ffff:127.0.0.1", MX_ADDRESS_PRIVATE},
    {"::ffff:8.8.8.8", MX_ADDRESS_PRIVATE},
    {"::ffff:224.0.0.1", MX_ADDRESS_NEVER},
    {"::ffff:0:10.0.0.1", MX_ADDRESS_PRIVATE},
    {"64:ff9b::8.8.8.8", MX_ADDRESS_PUBLIC},
    {"64:ff9b::10.0.0.1", MX_ADDRESS_PRIVATE},
    {"64:ff9b:1::1", MX_ADDRESS_PRIVATE},
    {"100::1", MX_ADDRESS_NEVER},
    {"2001:db8::1", MX_ADDRESS_PUBLIC},
    {"2002:7f00:1::1", MX_ADDRESS_PRIVATE},
    {"2002:808:808::1", MX_ADDRESS_PUBLIC},
    {"fbff::1", MX_ADDRESS_PUBLIC},
    {"fc00::1", MX_ADDRESS_PRIVATE},
    {"fdff:ffff::1", MX_ADDRESS_PRIVATE},
    {"fe00::1", MX_ADDRESS_PUBLIC},
    {"fe80::1", MX_ADDRESS_PRIVATE},
    {"febf::1", MX_ADDRESS_PRIVATE},
    {"fec0::1", MX_ADDRESS_PRIVATE},
    {"feff::1", MX_ADDRESS_PRIVATE},
    {"ff02::1", MX_ADDRESS_NEVER},
    {"2606:4700::6810:84e5", MX_ADDRESS_PUBLIC},
};

static void each_block_ends_where_it_should(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(table); i++) {
        struct mx_address address;
        assert_int_equal(mx_address_parse(table[i].text, &address), 0);
        if (mx_address_kind(&address) != table[i].kind)
            fail_msg("%s is of kind %d", table[i].text, (int)mx_address_kind(&address));
    }
}

static void only_whole_rdata_is_an_address(void **state)
{
    (void)state;
    const unsigned char bytes[20] = {192, 0, 2, 1};
    struct mx_address address;
    for (int len = 0; len <= 20; len++) {
        assert_int_equal(mx_address_from_rdata(bytes, len, false, &address) == 0, len == 4);
        assert_int_equal(mx_address_from_rdata(bytes, len, true, &address) == 0, len == 16);
    }
}

static void text_and_socket_agree(void **state)
{
    (void)state;
    static const char *const texts[] = {"192.0.2.1", "2001:db8::1", "255.255.255.255",
                                        "::", "2001:db8:1111:2222:3333:4444:5555:6666"};
    for (size_t i = 0; i < countof(texts); i++) {
        struct mx_address address, other;
        struct stream_address socket;
        char text[MX_ADDRESS_TEXT_BYTES];
        assert_int_equal(mx_address_parse(texts[i], &address), 0);
        assert_string_equal(mx_address_text(&address, text), texts[i]);
        mx_address_socket(&address, 25, &socket);
        assert_int_equal(socket.storage.ss_family, address.v6 ? AF_INET6 : AF_INET);
        assert_int_equal(socket.len, address.v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
        for (size_t k = 0; k < countof(texts); k++) {
            assert_int_equal(mx_address_parse(texts[k], &other), 0);
            assert_int_equal(mx_address_equal(&address, &other), i == k);
        }
    }
}

static void what_is_no_address_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",           "1.2.3", "1.2.3.256", "1.2.3.4 ",   "0x7f000001",
                                        "2130706433", "::g",   "1:2",       "fe80::1%lo", "[::1]"};
    struct mx_address address;
    for (size_t i = 0; i < countof(texts); i++)
        assert_int_not_equal(mx_address_parse(texts[i], &address), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_block_ends_where_it_should),
        cmocka_unit_test(only_whole_rdata_is_an_address),
        cmocka_unit_test(text_and_socket_agree),
        cmocka_unit_test(what_is_no_address_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
