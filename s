race:^a$
