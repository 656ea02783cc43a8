-- About 1.1 million rows, by set-based statements that need no index yet.

INSERT INTO shop.customer (name, joined_at)
    SELECT 'customer ' || i, timestamptz '2020-01-01 UTC' + i * interval '17 minutes'
    FROM generate_series(1, 100000) i;
INSERT INTO shop.address (customer_id, city)
    SELECT i, 'city ' || i % 500 FROM generate_series(1, 100000) i;
INSERT INTO shop.category (name) SELECT 'category ' || i FROM generate_series(1, 100) i;
INSERT INTO shop.product (name, price, attributes)
    SELECT 'product ' || i, (i % 9973 + 1) / 7.0, jsonb_build_object('size', i % 9, 'sold', 0)
    FROM generate_series(1, 10000) i;
INSERT INTO shop.product_category
    SELECT p, (p + c * 37) % 100 + 1 FROM generate_series(1, 10000) p, generate_series(0, 2) c;
INSERT INTO shop.warehouse
    SELECT i, 'city ' || i, (ARRAY['quiet', 'busy', 'on fire'])[i % 3 + 1]::shop.mood
    FROM generate_series(1, 10) i;
INSERT INTO shop.stock
    SELECT w, p, (w * p) % 1000 FROM generate_series(1, 10) w, generate_series(1, 10000) p;
INSERT INTO shop.employee (manager_id, name)
    SELECT CASE WHEN i > 1 THEN 990 + 10 * (i / 2) END, 'employee ' || i
    FROM generate_series(1, 200) i;

INSERT INTO shop.orders (customer_id, invoice, client, n, placed_at)
    SELECT i % 100000 + 1, nextval('shop."Invoice Number''s"'), 0, i,
           timestamptz '2024-01-01 UTC' + i * interval '9 minutes'
    FROM generate_series(1, 120000) i;
INSERT INTO shop.order_line (order_id, product_id, quantity)
    SELECT i, (i * l) % 10000 + 1, l FROM generate_series(1, 120000) i, generate_series(1, 2) l;

INSERT INTO shop.account SELECT i, 1000, 1000 FROM generate_series(1, 10000) i;
INSERT INTO shop.document (document_id, body, attachment)
    SELECT i, jsonb_build_object('hits', 0, 'title', 'document ' || i),
           CASE WHEN i % 50 = 0 THEN repeat(md5(i::text), 100) ELSE '' END
    FROM generate_series(1, 10000) i;
INSERT INTO shop.event (happened_at, client, n, payload)
    SELECT timestamptz '2024-01-01 UTC' + i * interval '5 minutes', 0, i, '{}'
    FROM generate_series(1, 250000) i;

INSERT INTO shop.exchange_rate (currency, day, rate)
    SELECT c, date '2025-01-01' + d, 1 + d / 1000.0
    FROM unnest(ARRAY['CHF', 'JPY', 'SEK', 'USD']) c, generate_series(0, 499) d;
INSERT INTO shop.sampler
    SELECT md5(i::text)::uuid, json_build_object('i', i), point(i, -i), (i % 32)::bit(5),
           decode(md5(i::text), 'hex'), ARRAY['a', i::text],
           tstzrange('2025-01-01 UTC', timestamptz '2025-01-01 UTC' + i * interval '1 hour'),
           i * interval '1 second', ('10.0.0.' || i % 256)::inet, i / 3.0::float8
    FROM generate_series(1, 1000) i;

INSERT INTO "Odd Names"."Mixed Case" ("Select", "say ""hello""")
    SELECT 'from ' || i, CASE WHEN i % 2 = 0 THEN 'hello' END FROM generate_series(1, 20000) i;
INSERT INTO "Odd Names"."space and 'quote'" ("c,d")
    SELECT 'value ' || i FROM generate_series(1, 5000) i;
INSERT INTO "Odd Names"."this_name_is_exactly_sixty_three_bytes_long_as_the_server_allow" (at)
    SELECT timestamptz '2025-01-01 UTC' + i * interval '1 minute' FROM generate_series(1, 5000) i;
INSERT INTO "Odd Names"."zähler_für_größe_über_müßig_übliche_länge_äöü_übel"
    SELECT 'schlüssel ' || i, i FROM generate_series(1, 1000) i;
INSERT INTO "Odd Names"."Reading"
    SELECT i % 300, timestamptz '2025-01-01 UTC' + i * interval '30 seconds', i % 97
    FROM generate_series(1, 100000) i;

SELECT nextval('shop.countdown') FROM generate_series(1, 3);
SELECT nextval('shop.small_and_cycling') FROM generate_series(1, 20);
SELECT nextval('"Odd Names"."say ""hello"", sequence"');
