-- Keys, references and indexes, once the rows are there.

ALTER TABLE shop.customer ADD PRIMARY KEY (customer_id);
ALTER TABLE shop.address ADD PRIMARY KEY (address_id),
    ADD FOREIGN KEY (customer_id) REFERENCES shop.customer;
ALTER TABLE shop.category ADD PRIMARY KEY (category_id);
ALTER TABLE shop.product ADD PRIMARY KEY (product_id);
ALTER TABLE shop.product_category ADD PRIMARY KEY (product_id, category_id),
    ADD FOREIGN KEY (product_id) REFERENCES shop.product,
    ADD FOREIGN KEY (category_id) REFERENCES shop.category;
ALTER TABLE shop.warehouse ADD PRIMARY KEY (warehouse_id);
ALTER TABLE shop.stock ADD PRIMARY KEY (warehouse_id, product_id),
    ADD FOREIGN KEY (warehouse_id) REFERENCES shop.warehouse,
    ADD FOREIGN KEY (product_id) REFERENCES shop.product;
ALTER TABLE shop.employee ADD PRIMARY KEY (employee_id),
    ADD FOREIGN KEY (manager_id) REFERENCES shop.employee;
ALTER TABLE shop.orders ADD PRIMARY KEY (order_id), ADD UNIQUE (client, n),
    ADD FOREIGN KEY (customer_id) REFERENCES shop.customer;
ALTER TABLE shop.order_line ADD PRIMARY KEY (line_id),
    ADD FOREIGN KEY (order_id) REFERENCES shop.orders,
    ADD FOREIGN KEY (product_id) REFERENCES shop.product;
CREATE INDEX ON shop.order_line (order_id);
ALTER TABLE shop.account ADD PRIMARY KEY (account_id);
ALTER TABLE shop.transfer ADD PRIMARY KEY (transfer_id), ADD UNIQUE (client, n);
ALTER TABLE shop.entry ADD PRIMARY KEY (transfer_id, account_id),
    ADD FOREIGN KEY (transfer_id) REFERENCES shop.transfer,
    ADD FOREIGN KEY (account_id) REFERENCES shop.account;
ALTER TABLE shop.document ADD PRIMARY KEY (document_id);
ALTER TABLE shop.client_state ADD PRIMARY KEY (client);
ALTER TABLE shop.event ADD PRIMARY KEY (event_id, happened_at);
ALTER TABLE shop.basket ADD PRIMARY KEY (client, n);
ALTER TABLE shop.basket_item ADD PRIMARY KEY (client, n, product_id),
    ADD FOREIGN KEY (client, n) REFERENCES shop.basket ON DELETE CASCADE,
    ADD FOREIGN KEY (product_id) REFERENCES shop.product;
ALTER TABLE shop.request ADD PRIMARY KEY (client, n);
ALTER TABLE shop.exchange_rate ADD PRIMARY KEY (currency, day);
ALTER TABLE shop.sampler ADD PRIMARY KEY (sample_id);
ALTER TABLE "Odd Names"."Mixed Case" ADD PRIMARY KEY ("Id");
ALTER TABLE "Odd Names"."space and 'quote'" ADD PRIMARY KEY ("a b");
ALTER TABLE "Odd Names"."this_name_is_exactly_sixty_three_bytes_long_as_the_server_allow"
    ADD PRIMARY KEY (id);
-- No primary key here: a unique index is the replica identity.
CREATE UNIQUE INDEX "zähler_schlüssel"
    ON "Odd Names"."zähler_für_größe_über_müßig_übliche_länge_äöü_übel" ("schlüssel");
ALTER TABLE "Odd Names"."zähler_für_größe_über_müßig_übliche_länge_äöü_übel"
    REPLICA IDENTITY USING INDEX "zähler_schlüssel";
ALTER TABLE "Odd Names"."Reading" ADD PRIMARY KEY (sensor, at);
