import { testWidth } from './suite.ts';

testWidth(16);
